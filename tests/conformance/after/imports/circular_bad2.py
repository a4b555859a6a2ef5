from circular_bad import y
x = 1
