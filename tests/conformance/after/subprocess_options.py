#: All options of subprocess do what they say.
#: varies: after 0\.\d+ seconds
import os, signal, subprocess, sys, time

def say(what, *args, **more):
    more.setdefault("stdout", subprocess.PIPE)
    more.setdefault("stderr", subprocess.PIPE)
    try:
        done = subprocess.run(*args, **more)
        print(what, done.returncode, done.stdout, done.stderr)
    except Exception as error:
        print(what, type(error).__name__, error)

me = [sys.executable, "-c"]
say("plain", ["echo", "a b"])
say("text", ["echo", "ä"], text=True)
say("encoding", ["printf", r"\344\n"], encoding="latin-1")
say("input", ["tr", "a-z", "A-Z"], input=b"through" * 20000)
say("input text", ["tr", "a-z", "A-Z"], input="through\r\n", universal_newlines=True)
say("shell", "echo $0 $X; exit 3", shell=True, env={"X": "x"})
say("shell arguments", ["echo $0 $1", "zero", "one"], shell=True)
say("executable", "echo $BASH_VERSINFO", shell=True, executable="/bin/bash")
say("cwd", ["pwd"], cwd="/")
say("no cwd", ["pwd"], cwd="/no/such")
say("no program", ["/no/such"])
say("check", ["false"], check=True)
say("timeout", ["sleep", "9"], timeout=0.05)
say("stderr to stdout", "echo o; echo e >&2", shell=True, stderr=subprocess.STDOUT)
say("devnull", "echo o; cat", shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
say("python", me + ["import sys; print(sys.argv, sys.flags.isolated, sys.path[0] == '')", "x"])
say("python -I", [sys.executable, "-I", "-c", "import sys; print(sys.flags.isolated)"])
say("environment", me + ["import os; print(sorted(k for k in os.environ if k.startswith(('PY', 'LD_', 'LC'))))"])
say("changed environment", ["sh", "-c", "echo $ADDED ${HOME-none}"], env={**{k: v for k, v in os.environ.items() if k != "HOME"}, "ADDED": "1"})
say("preexec", "umask; echo $P", shell=True, preexec_fn=lambda: (os.umask(0o77), os.environ.__setitem__("P", "no")))
say("preexec raises", ["true"], preexec_fn=lambda: 1 / 0)
say("session", me + ["import os; print(os.getsid(0) == os.getpid())"], start_new_session=True)
if sys.version_info >= (3, 11):
    say("group", me + ["import os; print(os.getpgid(0) == os.getpid())"], process_group=0)
say("umask", ["sh", "-c", "umask"], umask=0o137)
if os.getuid() == 0:
    say("user", ["id", "-un"], user="nobody", extra_groups=[])
    say("numbers", ["id"], user=12345, group=23456, extra_groups=[34567])
say("signals", ["sh", "-c", "trap"], restore_signals=False)
say("SIGPIPE", me + ["open('/proc/self/status')", ""], restore_signals=True)
say("pipesize", ["echo", "x"], **({"pipesize": 4096} if sys.version_info >= (3, 10) else {}))

r, w = os.pipe()
say("pass_fds", ["sh", "-c", f"echo passed >&{w}; ls /proc/self/fd | wc -l"], pass_fds=[w])
print(os.read(r, 99))
os.set_inheritable(w, True)
say("close_fds", ["sh", "-c", f"ls -l /proc/self/fd | grep -c pipe"])
say("do not close", ["sh", "-c", f"echo kept >&{w}"], close_fds=False)
print(os.read(r, 99))

p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
p.stdin.write(b"line\n")
print(p.stdout.readline(), p.poll())
p.send_signal(signal.SIGSTOP)
print(os.WIFSTOPPED(os.waitpid(p.pid, os.WUNTRACED)[1]))
p.send_signal(signal.SIGCONT)
p.terminate()
print(p.wait(), p)
with subprocess.Popen(["sleep", "9"]) as p:
    try:
        p.communicate(timeout=0.05)
    except subprocess.TimeoutExpired as e:
        print(e)
    p.kill()
    print(p.communicate(), p.returncode)
with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as p:
    try:
        p.communicate("part", timeout=5)
    except subprocess.TimeoutExpired:
        print("late")
    print(p.returncode)
a = subprocess.Popen(["echo", "c\nb\na"], stdout=subprocess.PIPE)
b = subprocess.Popen(["sort"], stdin=a.stdout, stdout=subprocess.PIPE)
a.stdout.close()
print(b.communicate(), a.wait())
print(subprocess.getstatusoutput("echo x; exit 2"), subprocess.check_output(["echo", "y"]), subprocess.call("exit 5", shell=True))
many = [subprocess.Popen(["sh", "-c", f"exit {i}"]) for i in range(20)]
print([p.wait() for p in many])
for i in 0, 1:
    subprocess._USE_VFORK = bool(i)
    subprocess._USE_POSIX_SPAWN = bool(i)
    say("without vfork", ["sh", "-c", "exit 4"], close_fds=False)
