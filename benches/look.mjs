// What a look of the guard at a version costs in the module that ships: `make bench WHAT=look` (needs Node.js).
//
// The module runs in V8, which is also Envoy's, in a proxy that answers each call of the host at once: proxy-wasm 0.2.1
// with one worker, as far as the guard needs it. A thousand rollouts hear of each request. What is counted is the CPU
// time of `proxy_on_tick`, a quarter of a second of the proxy's clock after the last, with the calls of the host in it;
// printed is the median.
//
//     node benches/look.mjs target/cohort.wasm

import { readFileSync } from "node:fs";
import { cpus } from "node:os";

const ROLLOUTS = 1000;
// Ticks, of which the first are not counted: V8 compiles a function better once it was called often.
const WARM = 200, MEASURED = 200;
const TICK = 250_000_000n;
const OK = 0, NOT_FOUND = 1, CAS_MISMATCH = 8;
const REQUEST_HEADERS = 0, RESPONSE_HEADERS = 2;

// What is guarded against, and for how many causes.
const GUARDS = {
  "failures": [1, {}],
  "failures and slowness": [2, { maxFailureRatio: 0.05, slowerThan: "500ms", maxSlowRatio: 0.05 }],
};

function configuration(guard) {
  const versions = [{ name: "stable" }, { name: "canary", weight: 30 }];
  const named = (_, number) => ({ name: `r${number}`, versions, hashKey: [{ header: "x-user-id" }], guard });
  return JSON.stringify({ rollouts: Array.from({ length: ROLLOUTS }, named) });
}

// A proxy with one worker, and the module in it.
class FakeProxy {
  constructor(module, config) {
    this.config = Buffer.from(config);
    this.clock = 1_800_000_000_000_000_000n;
    this.shared = new Map();
    this.metrics = [];
    this.named = new Map();
    this.headers = new Map();
    this.calls = 0;
    const functions = { env: this.env(), wasi_snapshot_preview1: this.wasi() };
    const imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      const call = functions[from][name] ?? (() => { throw new Error(`the module calls ${name}`); });
      (imports[from] ??= {})[name] = (...args) => { this.calls += 1; return call(...args); };
    }
    this.wasm = new WebAssembly.Instance(module, imports).exports;
    this.wasm._initialize();
    this.wasm.proxy_on_context_create(1, 0);
    const started = this.wasm.proxy_on_vm_start(1, 0) && this.wasm.proxy_on_configure(1, this.config.length);
    if (!started) throw new Error("the configuration was refused");
  }

  bytes(at, size) { return Buffer.from(this.wasm.memory.buffer, at, size); }

  key(at, size) { return this.bytes(at, size).latin1Slice(); }

  put(at, value) { new DataView(this.wasm.memory.buffer).setUint32(at, value, true); return OK; }

  put64(at, value) { new DataView(this.wasm.memory.buffer).setBigUint64(at, value, true); return OK; }

  give(value, data, size) {
    if (value === undefined) return NOT_FOUND;
    const at = value.length && this.wasm.malloc(value.length);
    this.bytes(at, value.length).set(value);
    this.put(data, at);
    return this.put(size, value.length);
  }

  env() {
    return {
      proxy_log: (level, at, size) => {
        if (level > 2) throw new Error(`the module says: ${this.key(at, size)}`);
        return OK;
      },
      proxy_get_log_level: (out) => this.put(out, 2),
      proxy_set_tick_period_milliseconds: () => OK,
      proxy_set_effective_context: () => OK,
      proxy_get_current_time_nanoseconds: (out) => this.put64(out, this.clock),
      proxy_get_buffer_bytes: (kind, start, most, data, size) => this.give(this.config, data, size),
      proxy_get_property: (at, length, data, size) => {
        // How Envoy says that the answer was the service's own.
        const found = this.key(at, length) === "response\0code_details" ? Buffer.from("via_upstream") : undefined;
        return this.give(found, data, size);
      },
      proxy_get_header_map_pairs: (map, data, size) => this.give(wire(this.headers.get(map)), data, size),
      proxy_get_header_map_value: (map, at, length, data, size) => {
        const name = this.key(at, length);
        const pair = this.headers.get(map).find(([one]) => one === name);
        return this.give(pair && Buffer.from(pair[1]), data, size);
      },
      proxy_replace_header_map_value: () => OK,
      proxy_remove_header_map_value: () => OK,
      proxy_define_metric: (kind, at, size, out) => {
        const name = this.key(at, size);
        if (!this.named.has(name)) this.named.set(name, this.metrics.push(0n) - 1);
        return this.put(out, this.named.get(name));
      },
      proxy_increment_metric: (id, by) => { this.metrics[id] += by; return OK; },
      proxy_record_metric: (id, value) => { this.metrics[id] = value; return OK; },
      proxy_get_metric: (id, out) => this.put64(out, this.metrics[id]),
      proxy_get_shared_data: (at, length, data, size, ticket) => {
        const record = this.shared.get(this.key(at, length));
        if (record) this.put(ticket, record.ticket);
        return this.give(record?.value, data, size);
      },
      proxy_set_shared_data: (at, length, value, size, ticket) => {
        const key = this.key(at, length), now = this.shared.get(key);
        // Where there is nothing yet, any ticket will do.
        if (now && ticket && ticket !== now.ticket) return CAS_MISMATCH;
        this.shared.set(key, { value: Buffer.from(this.bytes(value, size)), ticket: (now?.ticket ?? 0) + 1 });
        return OK;
      },
    };
  }

  wasi() {
    return {
      clock_time_get: (clock, precision, out) => this.put64(out, this.clock),
      environ_sizes_get: (count, size) => this.put(count, 0) || this.put(size, 0),
      environ_get: () => OK,
      random_get: (at, size) => { crypto.getRandomValues(this.bytes(at, size)); return OK; },
    };
  }

  // A request from its headers to the end of its good answer.
  send(stream, user) {
    const { wasm } = this;
    this.headers.set(REQUEST_HEADERS, [[":method", "GET"], [":path", "/"], [":authority", "shop"], ["x-user-id", user]]);
    this.headers.set(RESPONSE_HEADERS, [[":status", "200"]]);
    wasm.proxy_on_context_create(stream, 1);
    wasm.proxy_on_request_headers(stream, 4, 1);
    wasm.proxy_on_response_headers(stream, 1, 1);
    wasm.proxy_on_done(stream);
    wasm.proxy_on_log(stream);
    wasm.proxy_on_delete(stream);
  }

  // Microseconds of CPU time, and calls of the host, that a tick takes for each version under guard.
  tick() {
    this.clock += TICK;
    const before = this.calls, began = process.cpuUsage();
    this.wasm.proxy_on_tick(1);
    return { took: process.cpuUsage(began).user / ROLLOUTS, calls: (this.calls - before) / ROLLOUTS };
  }

  // How many of a metric's series there are, and what they come to.
  metric(name) {
    const series = [...this.named].filter(([one]) => one.startsWith(`cohort_${name}.`));
    return { series: series.length, sum: series.reduce((sum, [, id]) => sum + this.metrics[id], 0n) };
  }
}

// Pairs as proxy-wasm hands them over: how many, their lengths, and each with a NUL behind it.
function wire(pairs) {
  const lengths = Buffer.alloc(4 + 8 * pairs.length);
  lengths.writeUInt32LE(pairs.length);
  pairs.flat().forEach((text, number) => lengths.writeUInt32LE(text.length, 4 + 4 * number));
  return Buffer.concat([lengths, Buffer.from(pairs.flat().map((text) => `${text}\0`).join(""), "latin1")]);
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function row(heard, against, ...figures) {
  console.log(`${heard}`.padEnd(30) + against.padEnd(24) + figures.map((one) => one.padStart(14)).join(""));
}

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const day = new Date().toISOString().slice(0, 10), { node, v8 } = process.versions;
const where = `Node.js ${node}, V8 ${v8}, ${cpus().length} cores shared with other work`;
console.log(`Made by \`make bench WHAT=look\` on ${day}: ${where}.`);
row("answers since the last tick", "guarded against", "µs a version", "a cause", "host calls");
for (const heard of [0, 1, 10]) {
  for (const [against, [causes, guard]] of Object.entries(GUARDS)) {
    const proxy = new FakeProxy(module, configuration(guard));
    const ticks = [];
    for (let number = 0; number < WARM + MEASURED; number += 1) {
      for (let user = 0; user < heard; user += 1) proxy.send(2, `user-${number}-${user}`);
      ticks.push(proxy.tick());
    }
    const watched = proxy.metric("guard_evidence").series, answers = proxy.metric("responses_total").sum;
    if (watched !== ROLLOUTS) throw new Error(`${watched} versions are under guard`);
    if (answers !== BigInt(heard * ticks.length * ROLLOUTS)) throw new Error(`${answers} answers were heard of`);
    const [took, calls] = ["took", "calls"].map((of) => median(ticks.slice(WARM).map((tick) => tick[of])));
    row(heard, against, took.toFixed(2), (took / causes).toFixed(2), calls.toFixed(1));
  }
}
