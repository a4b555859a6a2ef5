#: Shared memory that a program leaves behind is told of and removed by the resource tracker.
#: varies: psm_[0-9a-f]+
#: varies: /[^ ]*/resource_tracker.py:\d+
#: run: python program.py 2>&1; ls /dev/shm | grep -c psm_
#: until: 3.12
from multiprocessing import shared_memory
shared_memory.SharedMemory(create=True, size=10)
