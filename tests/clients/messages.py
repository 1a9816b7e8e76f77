"""WebSocket peers for Lua services, by the package `websockets`: `messages.py client URL ROOTS`, or `messages.py server CERTIFICATE KEY`,
which says its port. ROOTS, CERTIFICATE and KEY are `-` without TLS."""

import asyncio
import os
import ssl
import sys

import websockets

# As long as a service takes: a frame has at most 256 KiB.
SIZES = [0, 1, 125, 126, 4096, 65535, 65536, 262144]


async def talk(url, roots):
    context = None if roots == "-" else ssl.create_default_context(cafile=roots)
    async with websockets.connect(url, ssl=context, compression=None, extra_headers={"X-Real-IP": "192.0.2.7"}) as peer:
        assert await peer.recv() == "192.0.2.7 /talk?x=1"
        for size in SIZES:
            text, noise = "Grüße, 世界 " * (size // 16), os.urandom(size)
            for message in [text, noise] * 2:
                await peer.send(message)
            for message in [text, noise] * 2:
                assert await peer.recv() == message, size
        # An iterable goes as fragments; a ping may come between them.
        await peer.send(["one, ", "two, ", "three"])
        assert await peer.recv() == "one, two, three"
        await peer.send([b"one, ", b"two"])
        assert await peer.recv() == b"one, two"
        await (await peer.ping(b"are you there"))
        await peer.close(4001, "enough")
        assert peer.close_code == 4001, peer.close_code
    async with websockets.connect(url, ssl=context, compression=None) as peer:
        await peer.recv()
        await peer.send("close me")
        try:
            await peer.recv()
        except websockets.ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4002, "as you want"), closed
        else:
            raise AssertionError("it is open")
    print("good")


async def serve(peer, path):
    await peer.send(f"{path} {peer.request_headers.get('X-One')}")
    async for message in peer:
        if message == "fragments":
            await peer.send(["one, ", "two, ", "three"])
        elif message == "ping":
            await (await peer.ping(b"are you there"))
            await peer.send("answered")
        elif message == "close":
            await peer.close(4001, "enough")
        else:
            await peer.send(message)


async def listen(certificate, key):
    context = None
    if certificate != "-":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    async with websockets.serve(serve, "127.0.0.1", 0, ssl=context, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.sleep(300)


side, *words = sys.argv[1:]
asyncio.run(asyncio.wait_for(talk(*words) if side == "client" else listen(*words), 300))
