#: A signal that comes while exit handlers run is handled.
import atexit, os, signal
signal.signal(signal.SIGUSR1, lambda *a: print("handled"))
atexit.register(os.kill, os.getpid(), signal.SIGUSR1)
