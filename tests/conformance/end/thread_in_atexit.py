#: A thread that an exit handler starts runs, or is refused by Python 3.12.
import atexit, threading, time
def run():
    time.sleep(.03)
    print("thread ends")
def start():
    try:
        threading.Thread(target=run).start()
    except RuntimeError as error:
        print(type(error), error)
    time.sleep(.1)
atexit.register(start)
