#: A thread that is started while modules are cleared is refused, from 3.12 on.
#: since: 3.12
import threading, time
class A:
    def __del__(self, Thread=threading.Thread, sleep=time.sleep):
        try:
            Thread(target=print, args=("never",)).start()
            sleep(.05)
        except Exception as error:
            print(type(error), error)
a = A()
