#: asyncio's processes are watched to their end, by the child watchers of the version and in threads.
import asyncio, signal, sys, threading, warnings

warnings.simplefilter("ignore")

async def children():
    p = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    print(await p.communicate(b"through"), p.returncode)
    p = await asyncio.create_subprocess_shell("exit 7")
    print(await p.wait())
    p = await asyncio.create_subprocess_exec("sleep", "9")
    p.terminate()
    print(await p.wait())
    many = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {i}") for i in range(5)]
    print(await asyncio.gather(*(p.wait() for p in many)))
    p = await asyncio.create_subprocess_exec(sys.executable, "-c", "print('a'); print('b')", stdout=asyncio.subprocess.PIPE)
    print([line async for line in p.stdout], await p.wait())

asyncio.run(children())
# Not MultiLoopChildWatcher: its signal handler may take a process from the very lines that are about to look at it.
for name in "SafeChildWatcher", "FastChildWatcher", "ThreadedChildWatcher", "PidfdChildWatcher":
    watcher = getattr(asyncio, name, None)
    if watcher is None or not hasattr(asyncio, "set_child_watcher"):
        continue
    print(name)
    watcher = watcher()
    async def with_watcher():
        if hasattr(watcher, "attach_loop"):
            watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)
        with watcher:
            await children()
    asyncio.run(with_watcher())
    watcher.close()
    asyncio.set_child_watcher(None)
t = threading.Thread(target=lambda: asyncio.run(children()))
t.start(); t.join()
print(signal.getsignal(signal.SIGCHLD))
