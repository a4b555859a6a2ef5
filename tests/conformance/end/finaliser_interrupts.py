#: A finaliser at the end may ask for an interrupt, which Python 3.11 can crash of.
#: since: 3.12
#: ends: 0
import _thread
class A:
    def __del__(self):
        _thread.interrupt_main()
        print("after")
a = A()
