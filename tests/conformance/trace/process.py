#: What the system shows of the process: its words, descriptors, threads, and what it has used.
#: varies: 0x[0-9a-f]+|\b\d{12,}\b|environment: line \d+: .*
#: run: parts
#: run: python -c "$(cat words.py)" one "two words"
#= words
import os, subprocess, sys
print(open("/proc/self/cmdline").read().split("\0"), open("/proc/self/comm").read())
print(subprocess.run(["ps", "-o", "args=,comm=", str(os.getpid())], capture_output=True, text=True).stdout)
e = dict(x.split("=", 1) for x in open("/proc/self/environ").read().split("\0") if x)
print({k: v for k, v in e.items() if k != "_"} == {k: v for k, v in os.environ.items() if k not in ("_", "LC_CTYPE")})
print([k for k in e if "LD_" in k or k.startswith("PYIMG_") and k not in ("PYIMG_DIR", "PYIMG_PYTHON", "PYIMG_CRIU", "PYIMG_BUILD", "PYIMG_IMAGE")])
print(os.readlink("/proc/self/exe"), os.readlink("/proc/self/cwd") == os.getcwd(), os.readlink("/proc/self/root"))
#= descriptors
import os
names = sorted(os.listdir("/proc/self/fd"), key=int)
print(names, [os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in names[:3]])
print([open(f"/proc/self/fdinfo/{n}").read().split()[:4:3] for n in names[:3]])
#= tasks
import os, threading
print(len(os.listdir("/proc/self/task")), threading.enumerate(), os.listdir("/proc/self/task") == [str(os.getpid())])
#= stat_of_it
import os, time
text = open("/proc/self/stat").read()
fields = text[text.rindex(")") + 2:].split()
pid, ppid, pgrp, session, tty, tpgid = int(text.split()[0]), *map(int, fields[1:6])
print(text[:text.rindex(")") + 1].split("(")[1], pid == os.getpid(), ppid == os.getppid(), pgrp == os.getpgrp(), session == os.getsid(0), tty, tpgid)
age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
print(0 <= age < 60, fields[15:18], fields[35], fields[27 - 1 + 0] == "0")
#= status
keys = [l.split(":")[0] for l in open("/proc/self/status")]
values = dict(l.rstrip().split(":\t", 1) for l in open("/proc/self/status") if ":\t" in l)
print(keys)
print({k: values.get(k) for k in ("Name", "Umask", "State", "TracerPid", "Uid", "Gid", "FDSize", "Groups", "Kthread", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Speculation_Store_Bypass", "SpeculationIndirectBranch", "Cpus_allowed", "Mems_allowed", "CoreDumping", "THP_enabled", "untag_mask", "HugetlbPages", "VmLck", "VmPin")})
#= caught
# The C library keeps signals 32 and 33 to itself.
values = dict(line.split(":\t", 1) for line in open("/proc/self/status") if line.startswith("Sig"))
print({name: int(values[name], 16) & ~(3 << 31) for name in ("SigPnd", "SigBlk", "SigIgn", "SigCgt")})
#= limits
print(open("/proc/self/limits").read(), open("/proc/self/personality").read(), open("/proc/self/oom_score_adj").read(), open("/proc/self/coredump_filter").read(), open("/proc/self/timerslack_ns").read(), open("/proc/self/autogroup").read() if False else "")
#= auxiliary
import struct
words = struct.unpack(f"{len(data := open('/proc/self/auxv', 'rb').read()) // 8}Q", data)
auxv = dict(zip(words[::2], words[1::2]))
print(sorted(auxv), {k: auxv.get(k) for k in (6, 8, 11, 12, 13, 14, 16, 17, 23, 26)})
#= maps
names = {l.split(None, 5)[5].strip() for l in open("/proc/self/maps") if len(l.split(None, 5)) > 5}
print(sorted(n for n in names if n.startswith("[") and not n.startswith("[anon")), any("criu" in n or "restorer" in n for n in names))
#= usage
import os, resource, time
children, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
print(tuple(children), 2000 < own.ru_maxrss < 500000, own.ru_utime + own.ru_stime < 5, own.ru_nswap)
times = os.times()
print(times.children_user, times.children_system, times.user < 5, time.process_time() < 5, time.thread_time() < 5)
a, b = time.perf_counter(), time.perf_counter()
print(0 <= b - a < 1, abs(time.time() - time.time_ns() / 1e9) < 1, abs(time.monotonic() - time.clock_gettime(time.CLOCK_MONOTONIC)) < 1)
#= timers
import signal, os
print([signal.getitimer(t) for t in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)], open("/proc/self/timers").read() if os.path.exists("/proc/self/timers") else "")
#= children
import os
try:
    os.wait()
except ChildProcessError as e:
    print(e)
print(open("/proc/self/task/%d/children" % os.getpid()).read() if os.path.exists("/proc/self/task/%d/children" % os.getpid()) else "")
#= signals
import signal
print([(n, str(signal.getsignal(n))) for n in sorted(signal.valid_signals())], signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.sigpending(), signal.set_wakeup_fd(-1))
#= c_level
import ctypes
c = ctypes.CDLL(None)
c.getenv.restype = ctypes.c_char_p
print(c.getenv(b"LD_PRELOAD"), c.getenv(b"PYIMG_PARK"), c.getenv(b"HOME"))
