"""Makes a conda channel of small real packages, and serves it: what tests, benches and examples have in place of the public ones.

    channel = Channel(folder)
    channel.add(CondaPackage(name="hello", noarch="python", files={"site-packages/hello.py": b"..."}))
    channel.write_index()
    with serve_channel(folder, tokens={"abc"}) as server:
        server.url                     # http://127.0.0.1:…/t/abc/…
    folder.as_uri()                    # or as files

`packages` writes archives (``.conda`` and ``.tar.bz2``), `channel` the folder and its index, `server` serves it, `wheels` wraps
wheels, `debian_records` makes a real relocatable Python of Debian's packages, `samples` has one package of each kind that a
reader must know, `evil` those that it must refuse. Same input, same bytes; nothing here is a part of wherry.
"""
