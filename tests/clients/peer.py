"""The package `websockets`: `python3 peer.py URL EXTENSION`, where EXTENSION is what must be agreed on when it is offered."""

import asyncio
import os
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate

SIZES = [0, 1, 16, 64, 125, 126, 256, 1024, 4096, 8192, 16384, 32768, 65535, 65536, 131072, 1 << 20]
OFFERS = [
    None,
    Deflate(client_max_window_bits=True),
    Deflate(server_no_context_takeover=True),
    Deflate(client_no_context_takeover=True),
    Deflate(server_no_context_takeover=True, client_no_context_takeover=True),
    Deflate(server_max_window_bits=9, client_max_window_bits=9),
    Deflate(server_max_window_bits=15, client_max_window_bits=12, server_no_context_takeover=True),
]


async def talk(url, offer, agreed):
    extensions = [offer] if offer else None
    async with websockets.connect(url, compression=None, extensions=extensions, max_size=1 << 22) as peer:
        names = [extension.name for extension in peer.extensions]
        assert names == ([agreed] if offer and agreed else []), names
        for size in SIZES:
            text, noise = "Grüße, 世界 " * (size // 16), os.urandom(size)
            for message in [text, noise] * 4:
                await peer.send(message)
            for message in [text, noise] * 4:
                assert await peer.recv() == message, size
        # An iterable goes as fragments.
        await peer.send(["one, ", "two, ", "three"])
        assert await peer.recv() == "one, two, three"
        await (await peer.ping(b"are you there"))
        await peer.close(4001, "enough")
        assert peer.close_code == 4001, peer.close_code


async def main(url, agreed=""):
    for offer in OFFERS:
        await asyncio.wait_for(talk(url, offer, agreed), 60)
    print(f"{len(OFFERS)} offers")


asyncio.run(main(*sys.argv[1:]))
