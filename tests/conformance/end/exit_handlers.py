#: Exit handlers run in reverse order, after an error as well, go on after one of their own, and see the program.
#= one_fails
import atexit
for i in range(3):
    atexit.register(print, i)
atexit.register(divmod, 1, 0)
print("main")
#= after_an_error
import atexit
atexit.register(print, "run")
1 / 0
#= sees_the_program
import atexit
x = 5
atexit.register(lambda: print("x is", x, __name__))
