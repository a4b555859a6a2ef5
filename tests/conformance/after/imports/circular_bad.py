from circular_bad2 import x
y = 1
