#: asyncio's loops run: signals, threads, streams, servers, tasks, timeouts and what is left at the end.
import asyncio, contextvars, os, signal, socket, sys, threading

async def main():
    loop = asyncio.get_running_loop()
    print(type(loop).__name__, loop.get_debug(), asyncio.current_task().get_name())
    got = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, got.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(got.wait(), 30)
    print(loop.remove_signal_handler(signal.SIGUSR1))
    print(await asyncio.to_thread(lambda: threading.current_thread() is threading.main_thread()))
    print(await loop.run_in_executor(None, sum, [1, 2]))
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\n")
    print(await reader.read())
    writer.close()
    server.close()
    server = await asyncio.start_unix_server(answer, "socket")
    reader, writer = await asyncio.open_unix_connection("socket")
    writer.write(b"unix\n")
    print(await reader.read())
    writer.close()
    server.close()
    os.unlink("socket") if os.path.exists("socket") else None
    try:
        await asyncio.wait_for(asyncio.sleep(9), 0.01)
    except asyncio.TimeoutError:
        print("timeout")
    r, w = os.pipe()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), open(r, "rb"))
    os.write(w, b"piped"); os.close(w)
    print(await reader.read())
    v = contextvars.ContextVar("v", default=0)
    v.set(1)
    async def inner():
        v.set(v.get() + 1)
        return v.get()
    print(await asyncio.create_task(inner()), v.get())
    print(await asyncio.gather(*(asyncio.sleep(0.001 * i, i) for i in range(5))))
    print([i[0] for i in (await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))])
    loop.call_later(0.01, got.clear)
    while got.is_set(): await asyncio.sleep(0)
    left = asyncio.ensure_future(asyncio.sleep(99))
    left.add_done_callback(lambda t: print("cancelled", t.cancelled()))

asyncio.run(main())
asyncio.run(main(), debug=False)
async def interrupted():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(9)
    finally:
        print("finally")
try:
    asyncio.run(interrupted())
except KeyboardInterrupt:
    print("interrupted")
loop = asyncio.new_event_loop()
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
print(loop.is_closed(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
