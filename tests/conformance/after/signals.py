#: Signals are handled, blocked, waited for, and interrupt and restart system calls.
import ctypes, errno, faulthandler, os, select, signal, socket, sys, threading, time, warnings

warnings.simplefilter("ignore")  # of threads at a fork, which may just be ending
got = []
handler = lambda n, f: got.append((signal.Signals(n).name, f.f_code.co_name))
me = os.getpid()
def send():
    os.kill(me, signal.SIGUSR1)
for s in (s for s in signal.Signals if s not in (signal.SIGKILL, signal.SIGSTOP)):
    signal.signal(s, handler)
    os.kill(me, s)
print(got)
for s in (s for s in signal.Signals if s not in (signal.SIGKILL, signal.SIGSTOP)):
    signal.signal(s, {"SIGINT": signal.default_int_handler, "SIGPIPE": signal.SIG_IGN, "SIGXFSZ": signal.SIG_IGN}.get(s.name, signal.SIG_DFL))
signal.signal(signal.SIGUSR1, handler)
got.clear()
signal.pthread_kill(threading.get_ident(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)
print(len(got))

r, w = socket.socketpair()
w.setblocking(False)
print(signal.set_wakeup_fd(w.fileno()))
send()
print(r.recv(9), signal.set_wakeup_fd(-1) == w.fileno())

got.clear()
signal.signal(signal.SIGALRM, handler)
print(signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02))
start = time.monotonic()
time.sleep(0.2)  # goes on after each (PEP 475)
print(time.monotonic() - start >= 0.2, len(got) > 0, signal.setitimer(signal.ITIMER_REAL, 0)[1])
signal.setitimer(signal.ITIMER_REAL, 0.05)
a, b = os.pipe()
signal.signal(signal.SIGALRM, lambda *x: os.write(b, b"woken"))
print(os.read(a, 9))
class Late(Exception): pass
def late(*x): raise Late
signal.signal(signal.SIGALRM, late)
for call in (lambda: os.read(a, 9), lambda: select.select([a], [], []), lambda: time.sleep(9),
             lambda: threading.Lock().acquire() and threading.Lock().acquire(timeout=9) and time.sleep(9), lambda: signal.pause()):
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        call()
    except Late:
        print("late")
signal.signal(signal.SIGVTALRM, lambda *x: got.append("virtual"))
got.clear()
signal.setitimer(signal.ITIMER_VIRTUAL, 0.01)
while not got: pass
print(got)
signal.alarm(100); print(signal.alarm(0) > 90)

print(signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2]))
got.clear()
send()
print(got, signal.sigpending(), signal.sigwait([signal.SIGUSR1]).name, got)
os.kill(me, signal.SIGUSR2)
info = signal.sigwaitinfo([signal.SIGUSR2])
print(info.si_signo, info.si_pid == me, signal.sigtimedwait([signal.SIGUSR2], 0.01))
print(sorted(s.name for s in signal.pthread_sigmask(signal.SIG_SETMASK, [])))

signal.siginterrupt(signal.SIGUSR1, True)
signal.siginterrupt(signal.SIGUSR1, False)
signal.signal(signal.SIGCHLD, lambda n, f: got.append(os.waitpid(-1, os.WNOHANG)[1]))
got.clear()
if os.fork() == 0:
    os._exit(5)
while not got: time.sleep(0.001)
print(got)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
pid = os.fork() or os._exit(0)
try:
    os.waitpid(pid, 0)
except ChildProcessError as error:
    print(error)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)

def in_thread():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    send()
got.clear()
t = threading.Thread(target=in_thread); t.start(); t.join()
print(got and got[0][0], signal.getsignal(signal.SIGUSR1) is handler)
fd = os.pidfd_open(me)
signal.pidfd_send_signal(fd, signal.SIGUSR1)
print(len(got))
os.killpg(0, 0)
pid = os.fork()
if pid == 0:
    faulthandler.disable()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.kill(os.getpid(), signal.SIGTERM); os._exit(1)
print(os.WTERMSIG(os.waitpid(pid, 0)[1]), signal.strsignal(9))
