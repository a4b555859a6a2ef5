#: What a process inherits - limits, priorities, processors, groups, what is ignored - a program from an image has.
#: run: umask 027; python mask.py; ls -l d f | cut -c 1-10
#: run: ulimit -S -n 200; ulimit -c 0; ulimit -S -f 5000; python limits.py
#: run: ulimit -S -n 200; ulimit -c 0; ulimit -S -f 5000; python limits.py
#:   recipe: import json, numpy, os, resource
#:   needs: numpy
#: run: nice -n 5 "$PYTHON" $FLAGS priority.py
#: run: nice -n 5 "$PYTHON" $FLAGS priority.py
#:   recipe: import json, numpy, os, subprocess
#:   needs: numpy
#: run: taskset -c 0 "$PYTHON" $FLAGS processors.py
#: run: taskset -c 0 "$PYTHON" $FLAGS processors.py
#:   recipe: import json, numpy, os, subprocess
#:   needs: numpy
#: run: ionice -c 3 "$PYTHON" $FLAGS priority.py
#: run: setpriv --no-new-privs "$PYTHON" $FLAGS status.py
#: run: echo 77 > /proc/self/oom_score_adj; python killed.py
#: run: export GROUP=$(ps -o pgid= $$) SESSION=$(ps -o sid= $$); python groups.py
#: run: nohup "$PYTHON" $FLAGS hung_up.py 2>&1 | grep -v nohup:
#: run: trap '' CHLD; exec "$PYTHON" $FLAGS children.py
#: run: "$PYIMG_PYTHON" -c 'import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.execvp(sys.argv[1], sys.argv[1:])' "$PYTHON" $FLAGS blocked.py; echo $?
#: run: "$PYIMG_PYTHON" -c 'import os, sys; os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)' "$PYTHON" $FLAGS spawned.py
#= mask
import os
os.mkdir("d")
open("f", "w").close()
print(oct(os.umask(0)), *(oct(os.stat(name).st_mode) for name in "df"))
#= limits
import resource
print([resource.getrlimit(i) for i in range(16)])
#= priority
import os, subprocess
print(os.nice(0), os.getpriority(0, 0), open("/proc/self/timerslack_ns").read())
print(subprocess.run(["ionice"], capture_output=True).stdout)
#= processors
import os
print(os.sched_getscheduler(0), os.sched_getaffinity(0))
#= status
print([line for line in open("/proc/self/status") if line.startswith("NoNewPrivs")])
#= killed
print(open("/proc/self/oom_score_adj").read())
#= groups
import os
print(os.getpgrp() == int(os.environ["GROUP"]), os.getsid(0) == int(os.environ["SESSION"]))
#= hung_up
import signal
print(signal.getsignal(1))
#= children
import subprocess
print(subprocess.run(["true"]).returncode)
#= blocked
import os, signal
os.kill(os.getpid(), signal.SIGUSR1)
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.sigpending())
#= spawned
import json, os
print([line for line in open("/proc/self/status") if line.startswith(("SigB", "SigI", "SigC"))], flush=True)
os.execvp("grep", ["grep", "^Sig[BIC]", "/proc/self/status"])
