"""Small Wasm plugins that are not Cohort, to stand beside it in a proxy or to die in its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

#: What the proxy asks of every plugin. The heap only grows: these plugins live for one test.
_BASE = """
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 131072))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap
      (i32.add (global.get $heap) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (local.get $at))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
"""


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def neighbour(keys: Iterable[bytes], value: bytes = b"neighbour") -> str:
    """A plugin that writes `value` under every one of these keys of shared data with every request."""
    data, calls, at = _escaped(value), [], len(value)
    for key in keys:
        data += _escaped(key)
        calls.append(
            f"(drop (call $set (i32.const {at}) (i32.const {len(key)}) "
            f"(i32.const 0) (i32.const {len(value)}) (i32.const 0)))"
        )
        at += len(key)
    return f"""(module
  (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  {_BASE}
  (data (i32.const 0) "{data}")
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    {" ".join(calls)}
    (i32.const 0)))"""


def mortal() -> str:
    """A plugin that traps on a request with the header `x-trap`, and lets every other pass."""
    return f"""(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  {_BASE}
  (data (i32.const 0) "x-trap")
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $get (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 1024) (i32.const 1028)))
      (then (if (i32.load (i32.const 1028)) (then unreachable))))
    (i32.const 0)))"""


def assemble(text: str, path: Path) -> Path:
    """Writes the module to `path`."""
    source = path.with_suffix(".wat")
    source.write_text(text)
    tool = Path(sys.executable).with_name("wat2wasm")
    subprocess.run([str(tool), str(source), "-o", str(path)], check=True)
    return path


def with_custom_section(module: bytes, name: bytes) -> bytes:
    """The same module under other bytes: to a proxy, another version of the plugin."""
    assert len(name) < 120
    return module + bytes([0, len(name) + 1, len(name)]) + name
