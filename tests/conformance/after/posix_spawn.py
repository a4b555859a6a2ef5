#: os.posix_spawn, the os.spawn family, os.system, os.popen and os.exec start other programs.
#: run: python program.py
#: run: python program.py exec; echo $?
#: run: python program.py execve; echo $?
#: run: python program.py again; echo $?
import os, signal, sys

if sys.argv[1:] == ["exec"]:
    os.execvp("sh", ["sh", "-c", "echo $$ | grep -c .; exit 4"])
if sys.argv[1:] == ["execve"]:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *a: 0)
    os.execve("/bin/sh", ["sh", "-c", "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL=; grep ^Sig[BIC] /proc/self/status | sed s/0000000181/0000000001/; ls -l /proc/self/fd | wc -l; exit 5"], {"A": "b"})
if sys.argv[1:] == ["again"]:
    print("first", flush=True)
    os.execv(sys.executable, [sys.executable, __file__, "exec"])

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

out = os.open("out", os.O_CREAT | os.O_RDWR)
print(ended(os.posix_spawn("/bin/sh", ["sh", "-c", "echo $X; cat <&5; exit 2"], {"X": "x"}, file_actions=[
    (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_OPEN, 5, __file__, os.O_RDONLY, 0), (os.POSIX_SPAWN_CLOSE, 2)])))
print(os.lseek(out, 0, 2) > 500)
print(ended(os.posix_spawnp("sh", ["sh", "-c", "kill -TERM $$; exit 1"], os.environ)))
print(ended(os.posix_spawnp("sh", ["sh", "-c", "kill -USR1 $$; exit 1"], os.environ, setsigmask=[signal.SIGUSR1])))
print(ended(os.posix_spawnp("sh", ["sh", "-c", "exit $(ps -o pgid= $$)"], os.environ, setpgroup=0)) >= 0)
try:
    os.posix_spawn("/no/such", ["x"], {})
except FileNotFoundError as e:
    print(e)
print(os.spawnlp(os.P_WAIT, "sh", "sh", "-c", "exit 6"), ended(os.spawnvp(os.P_NOWAIT, "sh", ["sh", "-c", "exit 7"])))
print(os.spawnle(os.P_WAIT, "/bin/sh", "sh", "-c", 'exit "$N"', {"N": "8"}))
sys.stdout.flush()
print(os.system("echo from the shell; exit 3"), os.popen("cat program.py | wc -l").read(), os.popen("exit 9").close())
