"""Reads documents from standard input, each behind its length in a line of its own, with Python's
json, and says of each what it is: `!` and why it is refused, or `=` and its value in the notation
of tests/json/campaign.lua; `~` instead of `=` where it holds NaN or Infinity."""

import json
import struct
import sys

WHOLE = 1 << 53
has_constant = False


class Pairs(list):
    pass


class Large(str):
    pass


def integer(text):
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 63 else Large(text)


def real(text):
    value = float(text)
    return int(value) if abs(value) <= WHOLE and value == int(value) else value


def constant(_):
    global has_constant
    has_constant = True


def string(value):
    data = value.encode("utf-8", "surrogatepass")
    return b"%d:%s" % (len(data), data)


def dump(value, out):
    if value is None or value is True or value is False:
        out.append({None: b"n", True: b"t", False: b"f"}[value])
    elif isinstance(value, Large):
        out.append(b"L" + value.encode() + b";")
    elif isinstance(value, int):
        out.append(b"i%d;" % value)
    elif isinstance(value, float):
        out.append(b"d" + struct.pack(">d", value))
    elif isinstance(value, str):
        out.append(string(value))
    elif isinstance(value, Pairs):
        out.append(b"{")
        encoded = [(name.encode("utf-8", "surrogatepass"), item) for name, item in value]
        for name, item in sorted(encoded, key=lambda pair: pair[0]):
            out.append(b"%d:%s" % (len(name), name))
            dump(item, out)
        out.append(b"}")
    else:
        out.append(b"[")
        for item in value:
            dump(item, out)
        out.append(b"]")


decoder = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=integer, parse_float=real,
                           parse_constant=constant)


def judge(document):
    global has_constant
    has_constant = False
    try:
        text = document.decode("utf-8")
        if text.startswith("\ufeff"):
            return b"!byte order mark"  # json.loads() refuses it, its decoder is not asked
        value = decoder.decode(text)
    except (ValueError, RecursionError) as error:
        return b"!" + str(error).encode("utf-8", "replace")
    out = [b"~" if has_constant else b"="]
    dump(value, out)
    return b"".join(out)


def main():
    sys.setrecursionlimit(100000)
    sys.set_int_max_str_digits(0)
    data, at = sys.stdin.buffer.read(), 0
    while at < len(data):
        line = data.index(b"\n", at)
        end = line + 1 + int(data[at:line])
        answer = judge(data[line + 1:end])
        sys.stdout.buffer.write(b"%d\n%s" % (len(answer), answer))
        at = end


main()
