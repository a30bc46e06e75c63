"""Reads a pickle as a stream of opcodes, without ever unpickling: what it would import, and what it says of its makers.

Follows `pickletools` for the opcodes. The unpickler's stack is followed with symbols in place of objects, so that the names
which a pickle puts together on the stack are known too. joblib's form is read as well: raw arrays between the opcodes, and
the pickles of arrays of objects within. Nothing is imported, called or built.

Bounds: opcodes, depth of the stack, memo, length of names; long values are skipped, not held. Beyond the bounds reading ends
and `complete` is false. Refused: truncation, unknown opcodes, a stack that does not hold what an opcode takes.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from wherry.errors import FormatError
from wherry.formats.byte_stream import ByteStream

MAX_OPCODES = 2_000_000
_MAX_STACK = 1_000_000
_MAX_NAME = 4096
_MAX_NESTED = 10_000
_MAX_ITEMS = 256
_DISGUISE = 64 << 10  # bytes of an array that are also read as opcodes
_OPCODES = {opcode.code.encode("latin-1")[0]: opcode for opcode in pickletools.opcodes}
_ITEM_SIZE = re.compile(r"[<>|=]?([a-zA-Z])(\d+)")
_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_STAMP = "_sklearn_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class PickleFacts:
    """`names` are what it imports, ``module:name``, sorted; ``?:?`` stands for a name that is made while it loads.

    `sklearn` are the versions of scikit-learn that its estimators are stamped with.
    """

    names: tuple[str, ...]
    sklearn: tuple[str, ...] = ()
    complete: bool = True


class _Opaque:
    """A value that does not matter."""


class _Mark:
    """What MARK puts on the stack."""


_OPAQUE, _MARK = _Opaque(), _Mark()


@dataclass(slots=True)
class _Global:
    module: str
    name: str


@dataclass(slots=True)
class _Made:
    """What a call of a global gives; `state` is what BUILD gave it."""

    origin: object
    arguments: object = None
    state: object = None


class _TooMuch(Exception):
    pass


@dataclass(slots=True)
class _Gathered:
    names: set[str] = field(default_factory=set)
    sklearn: set[str] = field(default_factory=set)
    opcodes: int = 0
    nested: int = 0


def scan_pickle(chunks: Iterable[bytes], where: str) -> PickleFacts:
    """Read the pickle at the beginning of a stream; what follows its end is not looked at."""
    gathered = _Gathered()
    complete = True
    try:
        _Machine(ByteStream(chunks, where, _MAX_NAME), gathered).run()
    except _TooMuch:
        complete = False
    return PickleFacts(names=tuple(sorted(gathered.names)), sklearn=tuple(sorted(gathered.sklearn)), complete=complete)


class _Machine:
    """One pickle; a nested one is read by a machine of its own."""

    def __init__(self, stream: ByteStream, gathered: _Gathered) -> None:
        self._stream, self._gathered = stream, gathered
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._stamped = False  # the last name was scikit-learn's stamp: the next is a version

    def run(self) -> None:
        while True:
            self._gathered.opcodes += 1
            if self._gathered.opcodes > MAX_OPCODES or len(self._stack) > _MAX_STACK:
                raise _TooMuch
            opcode = _OPCODES.get(self._stream.take(1)[0])
            if opcode is None:
                raise self._refuse("an unknown opcode")
            argument = self._read_argument(opcode)
            if opcode.name == "STOP":
                return
            action = _ACTIONS.get(opcode.name)
            if action:
                action(self, argument)
            else:
                self._apply_generic(opcode)

    # -- arguments

    def _read_argument(self, opcode: pickletools.OpcodeInfo) -> object:
        described = opcode.arg
        if described is None:
            return None
        if described.n >= 0:
            return int.from_bytes(self._stream.take(described.n), "little", signed=opcode.name == "BININT")
        if described.n == pickletools.UP_TO_NEWLINE:
            first = self._stream.line()
            if opcode.name in ("GLOBAL", "INST"):
                return first.decode("utf-8", "backslashreplace"), self._stream.line().decode("utf-8", "backslashreplace")
            return first.decode("utf-8", "backslashreplace") if len(first) <= _MAX_NAME else _OPAQUE
        width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(described.n, 4)
        size = int.from_bytes(self._stream.take(width), "little")
        if opcode.name.startswith("LONG"):
            if size > 8:
                self._stream.skip(size)
                return _OPAQUE
            return int.from_bytes(self._stream.take(size), "little", signed=True)
        if size > _MAX_NAME or ("UNICODE" not in opcode.name and "STRING" not in opcode.name):
            self._stream.skip(size)
            return _OPAQUE
        return self._stream.take(size).decode("utf-8", "backslashreplace")

    # -- the stack

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> object:
        if not self._stack:
            raise self._refuse("an empty stack")
        return self._stack.pop()

    def pop_to_mark(self) -> list[object]:
        taken = []
        while (value := self.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def drop(self) -> None:
        self.pop()

    def drop_to_mark(self) -> None:
        self.pop_to_mark()

    def duplicate(self) -> None:
        value = self.pop()
        self._stack += [value, value]

    def push_value(self, argument: object) -> None:
        """A string or a number. The one after scikit-learn's stamp is a version."""
        if isinstance(argument, str):
            if self._stamped:
                self._gathered.sklearn.add(argument[:40])
            self._stamped = argument == _STAMP
        self.push(argument)

    def push_text_number(self, argument: object) -> None:
        digits = argument.rstrip("L") if isinstance(argument, str) else "?"
        short = len(digits) < 20 and digits.removeprefix("-").isdigit()
        self.push(int(digits) if short else _OPAQUE)

    def push_text(self, argument: object) -> None:
        self.push_value(argument.strip("'\"") if isinstance(argument, str) else argument)

    def make_tuple(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(items[::-1]))

    def make_marked_tuple(self) -> None:
        items = self.pop_to_mark()
        self.push(tuple(items) if len(items) <= _MAX_ITEMS else _OPAQUE)

    def set_items(self, pairs: list[object]) -> None:
        target = self._stack[-1] if self._stack else None
        if isinstance(target, dict):
            for key, value in zip(pairs[::2], pairs[1::2], strict=False):
                if isinstance(key, str) and len(target) < _MAX_ITEMS:
                    target[key] = value

    def make_dict(self) -> None:
        pairs = self.pop_to_mark()
        self.push({})
        self.set_items(pairs)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    # -- what is imported, called, built

    def push_global(self, module: object, name: object) -> None:
        if isinstance(module, str) and isinstance(name, str):
            self._gathered.names.add(f"{module}:{name}")
            self.push(_Global(module, name))
        else:
            self._gathered.names.add("?:?")
            self.push(_OPAQUE)

    def push_stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.push_global(module, name)

    def push_extension(self) -> None:
        self.push_global(None, None)  # copyreg's registry decides while it loads

    def call(self, operands: int) -> None:
        arguments = [self.pop() for _ in range(operands - 1)]
        self.push(_Made(self.pop(), arguments[-1] if arguments else None))

    def call_marked(self) -> None:
        items = self.pop_to_mark()
        self.push(_Made(items[0] if items else _OPAQUE))

    def call_named(self, argument: object) -> None:
        self.pop_to_mark()
        assert isinstance(argument, tuple)  # noqa: S101 - of GLOBAL and INST two lines are read
        self.push_global(*argument)
        self.push(_Made(self.pop()))

    def build(self) -> None:
        state = self.pop()
        target = self._stack[-1] if self._stack else None
        if isinstance(target, _Made):
            target.state = state
            if isinstance(target.origin, _Global) and (target.origin.module, target.origin.name) == _WRAPPER:
                self._pass_array(state)

    def _pass_array(self, state: object) -> None:
        """joblib writes an array's bytes, or a pickle of its objects, right behind the object that describes it."""
        if not isinstance(state, dict):
            raise self._refuse("an array without a description")
        kind, size = _item_size(state.get("dtype"))
        shape = state.get("shape")
        if size is None or not isinstance(shape, tuple) or not all(isinstance(one, int) and one >= 0 for one in shape):
            raise self._refuse("an array of an unknown form")
        self._gathered.nested += 1
        if self._gathered.nested > _MAX_NESTED:
            raise _TooMuch
        if kind == "O":
            _Machine(self._stream, self._gathered).run()
            return
        padding = self._stream.take(1) if isinstance(state.get("numpy_array_alignment_bytes"), int) else b""
        for one in shape:
            size *= one
        size += padding[0] if padding else 0
        first = self._stream.take(min(size, _DISGUISE))
        self._read_as_opcodes(padding + first)
        self._stream.skip(size - len(first))

    def _read_as_opcodes(self, data: bytes) -> None:
        """`pickle.load` knows nothing of arrays: to it their bytes are opcodes. Honest ones end at once as such."""
        disguised = _Machine(ByteStream([data], self._stream.where, _MAX_NAME), self._gathered)
        disguised._stack, disguised._memo = list(self._stack), dict(self._memo)
        with suppress(FormatError):
            disguised.run()

    # -- the memo

    def put(self, argument: object) -> None:
        if not self._stack:
            raise self._refuse("an empty stack")
        index = int(argument) if isinstance(argument, int) or str(argument).isdigit() else -1  # type: ignore[call-overload]
        self._memo[index] = self._stack[-1]

    def memoize(self) -> None:
        self.put(len(self._memo))

    def get(self, argument: object) -> None:
        index = int(argument) if isinstance(argument, int) or str(argument).isdigit() else -1  # type: ignore[call-overload]
        if index not in self._memo:
            raise self._refuse("a memo that holds nothing")
        self.push_value(self._memo[index])

    def _apply_generic(self, opcode: pickletools.OpcodeInfo) -> None:
        """Any other opcode: it takes what the table says, and gives values that do not matter."""
        before = list(opcode.stack_before)
        if pickletools.stackslice in before:
            self.pop_to_mark()
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            self.pop()
        for _ in opcode.stack_after:
            self.push(_OPAQUE)

    def _refuse(self, what: str) -> FormatError:
        return FormatError(f"no pickle that could be loaded: {what}", where=self._stream.where)


def _item_size(dtype: object) -> tuple[str, int | None]:
    """Kind and bytes of an array's item, as numpy's dtype was called: ``f8``, ``U5`` (four bytes a letter), ``O8``."""
    arguments = dtype.arguments if isinstance(dtype, _Made) else None
    text = arguments[0] if isinstance(arguments, tuple) and arguments else dtype
    found = _ITEM_SIZE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        return "", None
    return found[1], int(found[2]) * (4 if found[1] == "U" else 1)


_Action = Callable[[_Machine, object], None]
_ACTIONS: Mapping[str, _Action] = {
    "MARK": lambda machine, _: machine.push(_MARK),
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.drop_to_mark(),
    "DUP": lambda machine, _: machine.duplicate(),
    **dict.fromkeys(
        ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
        _Machine.push_value,
    ),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _Machine.push_value),
    **dict.fromkeys(("INT", "LONG"), _Machine.push_text_number),
    "STRING": _Machine.push_text,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.make_marked_tuple(),
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "DICT": lambda machine, _: machine.make_dict(),
    "APPEND": lambda machine, _: machine.drop(),  # the list stays
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.drop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_item(),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, argument: machine.push_global(*argument),  # type: ignore[misc]
    "STACK_GLOBAL": lambda machine, _: machine.push_stack_global(),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda machine, _: machine.push_extension()),
    "REDUCE": lambda machine, _: machine.call(2),
    "NEWOBJ": lambda machine, _: machine.call(2),
    "NEWOBJ_EX": lambda machine, _: machine.call(3),
    "OBJ": lambda machine, _: machine.call_marked(),
    "INST": _Machine.call_named,
    "BUILD": lambda machine, _: machine.build(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": lambda machine, _: machine.memoize(),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
}
