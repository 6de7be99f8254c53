//! The built module in an interpreter, with proxy-wasm 0.2.1 around it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use wasmi::{Caller, Config, Engine, Extern, Instance, Linker, Memory, Module, Store, TypedFunc};

use super::exchange::Lines;
use super::faults::Statuses;
use super::rig::{Event, Rig};
use super::world::{status, Answer, Map, World};

/// The name of the variable that says where the module is.
const PLACE: &str = "COHORT_WASM";

/// The module as it will be deployed: what `COHORT_WASM` names, else what cargo builds now.
///
/// Cargo is asked each time, so that no test ever runs an older module than the sources; it answers at
/// once where nothing changed.
pub fn bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let place = std::env::var_os(PLACE).map_or_else(build, PathBuf::from);
        std::fs::read(&place).unwrap_or_else(|error| {
            panic!("{}: {error}; run `make build`, or set {PLACE} to the module", place.display())
        })
    })
}

/// Whether the module has been through `wasm-opt`, which is not on every machine: then it is not what
/// cargo left.
pub fn is_optimised() -> bool {
    let raw = std::fs::read(target().join(RAW));
    raw.is_ok_and(|raw| raw != bytes())
}

const RAW: &str = "wasm32-unknown-unknown/release/cohort.wasm";

fn target() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from)
}

fn build() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--lib", "--no-default-features"])
        .args(["--target", "wasm32-unknown-unknown"])
        .current_dir(&root)
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "cargo could not build the module; run `make build`, or set {PLACE} to a module"
    );
    target().join(RAW)
}

/// More than any callback may spend.
const TANK: u64 = 1 << 40;

/// The module in an interpreter.
pub struct Wasm {
    store: Store<Vm>,
    instance: Instance,
    spent: u64,
}

/// What the host functions need.
struct Vm {
    world: Arc<World>,
    memory: Option<Memory>,
    malloc: Option<TypedFunc<u32, u32>>,
}

type Host<'a> = Caller<'a, Vm>;

impl Wasm {
    fn call<P: wasmi::WasmParams, T: wasmi::WasmResults>(&mut self, name: &str, params: P) -> T {
        let function = self
            .instance
            .get_typed_func::<P, T>(&self.store, name)
            .unwrap_or_else(|error| panic!("the module's {name}: {error}"));
        self.store.set_fuel(TANK).expect("fuel is metered");
        let result = function.call(&mut self.store, params);
        self.spent += TANK - self.store.get_fuel().expect("fuel is metered");
        result.unwrap_or_else(|trap| {
            let log = self.store.data().world.take_log(4);
            panic!("the module trapped in {name}: {trap}\n{log}")
        })
    }

    /// The bytes of memory that the module has.
    pub fn memory(&self) -> usize {
        self.store.data().memory.expect("a memory").data_size(&self.store)
    }
}

impl Rig for Wasm {
    const SLOWER: u64 = 20;
    const STATUSES: Statuses = Statuses::OfTheSdk;

    fn start(world: &Arc<World>) -> Self {
        static MODULE: OnceLock<(Engine, Module)> = OnceLock::new();
        let (engine, module) = MODULE.get_or_init(|| {
            let mut config = Config::default();
            config.consume_fuel(true);
            let engine = Engine::new(&config);
            let module = Module::new(&engine, bytes()).expect("a module");
            (engine, module)
        });
        let vm = Vm { world: Arc::clone(world), memory: None, malloc: None };
        let mut store = Store::new(engine, vm);
        store.set_fuel(TANK).expect("fuel is metered");
        let mut linker = Linker::new(engine);
        link(&mut linker).expect("names that differ");
        stub(&mut linker, module);
        let instance = linker.instantiate_and_start(&mut store, module).expect("an instance");
        store.data_mut().memory = instance.get_memory(&store, "memory");
        store.data_mut().malloc = instance.get_typed_func(&store, "malloc").ok();
        let mut wasm = Self { store, instance, spent: 0 };
        wasm.call::<(), ()>("proxy_abi_version_0_2_1", ());
        wasm.call::<(), ()>("_initialize", ());
        wasm
    }

    fn configure(&mut self, root: u32, configuration: &[u8]) -> bool {
        self.store.data().world.state().configuration = configuration.to_vec();
        self.call::<_, ()>("proxy_on_context_create", (root, 0u32));
        assert_eq!(self.call::<_, u32>("proxy_on_vm_start", (root, 0u32)), 1);
        self.call::<_, u32>("proxy_on_configure", (root, configuration.len() as u32)) == 1
    }

    fn tick(&mut self, root: u32) {
        self.call::<_, ()>("proxy_on_tick", root);
    }

    fn call_answered(&mut self, root: u32, token: u32, headers: usize) {
        let params = (root, token, headers as u32, 0u32, 0u32);
        self.call::<_, ()>("proxy_on_http_call_response", params);
    }

    fn delete_root(&mut self, root: u32) {
        self.call::<_, ()>("proxy_on_delete", root);
    }

    fn create_stream(&mut self, root: u32, stream: u32) {
        self.call::<_, ()>("proxy_on_context_create", (stream, root));
    }

    fn on(&mut self, stream: u32, event: Event) {
        // Every answer must be to go on.
        let action: u32 = match event {
            Event::RequestHeaders => self.call("proxy_on_request_headers", (stream, 1u32, 0u32)),
            Event::RequestTrailers => self.call("proxy_on_request_trailers", (stream, 1u32)),
            Event::ResponseHeaders { end } => {
                self.call("proxy_on_response_headers", (stream, 1u32, u32::from(end)))
            }
            Event::ResponseBody { size, end } => {
                self.call("proxy_on_response_body", (stream, size, u32::from(end)))
            }
            Event::ResponseTrailers => self.call("proxy_on_response_trailers", (stream, 1u32)),
        };
        assert_eq!(action, 0, "{event:?} was not let through");
    }

    fn delete_stream(&mut self, stream: u32) {
        self.call::<_, ()>("proxy_on_delete", stream);
    }

    fn fuel(&self) -> u64 {
        self.spent
    }
}

/// Every call that the module may make and that does something here.
fn link(linker: &mut Linker<Vm>) -> Result<(), wasmi::errors::LinkerError> {
    linker.func_wrap("env", "proxy_log", |host: Host, level: u32, at: u32, size: u32| {
        let message = text(&host, at, size);
        code(host.data().world.proxy_log(level, message))
    })?;
    linker.func_wrap("env", "proxy_get_log_level", |mut host: Host, out: u32| {
        let level = host.data().world.proxy_get_log_level();
        put(&mut host, level, |host, level| write(host, out, &level.to_le_bytes()))
    })?;
    linker.func_wrap("env", "proxy_get_current_time_nanoseconds", |mut host: Host, out: u32| {
        let time = host.data().world.proxy_get_current_time_nanoseconds();
        put(&mut host, time, |host, time| write(host, out, &time.to_le_bytes()))
    })?;
    linker.func_wrap("env", "proxy_set_tick_period_milliseconds", |host: Host, period: u32| {
        code(host.data().world.proxy_set_tick_period_milliseconds(period.into()))
    })?;
    linker.func_wrap("env", "proxy_set_effective_context", |_: Host, _: u32| 0u32)?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut host: Host, buffer: u32, start: u32, size: u32, data: u32, data_size: u32| {
            let bytes = host.data().world.proxy_get_buffer_bytes(buffer, start, size);
            put(&mut host, bytes, |host, bytes| give(host, &bytes, data, data_size))
        },
    )?;
    link_headers(linker)?;
    link_metrics(linker)?;
    link_shared(linker)?;
    link_wasi(linker)
}

fn link_headers(linker: &mut Linker<Vm>) -> Result<(), wasmi::errors::LinkerError> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut host: Host, map: u32, data: u32, size: u32| {
            let pairs = of(map).and_then(|map| host.data().world.proxy_get_header_map_pairs(map));
            put(&mut host, pairs, |host, pairs| give(host, &wire(&pairs), data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut host: Host, map: u32, name: u32, name_size: u32, data: u32, size: u32| {
            let name = read(&host, name, name_size);
            let get = |map| host.data().world.proxy_get_header_map_value(map, &name);
            let value = of(map).and_then(get);
            put(&mut host, value, |host, value| give(host, &value, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |host: Host, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            let (name, value) = (read(&host, name, name_size), read(&host, value, value_size));
            let world = &host.data().world;
            code(of(map).and_then(|map| world.proxy_replace_header_map_value(map, &name, &value)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_add_header_map_value",
        |host: Host, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            let (name, value) = (read(&host, name, name_size), read(&host, value, value_size));
            let world = &host.data().world;
            code(of(map).and_then(|map| world.proxy_add_header_map_value(map, &name, &value)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |host: Host, map: u32, name: u32, name_size: u32| {
            let name = read(&host, name, name_size);
            let world = &host.data().world;
            code(of(map).and_then(|map| world.proxy_remove_header_map_value(map, &name)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut host: Host, path: u32, path_size: u32, data: u32, size: u32| {
            let path = read(&host, path, path_size);
            let value = host.data().world.proxy_get_property(&path);
            put(&mut host, value, |host, value| give(host, &value, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |host: Host, path: u32, path_size: u32, value: u32, size: u32| {
            let (path, value) = (read(&host, path, path_size), read(&host, value, size));
            code(host.data().world.proxy_set_property(&path, &value))
        },
    )?;
    Ok(())
}

fn link_metrics(linker: &mut Linker<Vm>) -> Result<(), wasmi::errors::LinkerError> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut host: Host, kind: u32, name: u32, name_size: u32, out: u32| {
            let name = text(&host, name, name_size);
            let id = host.data().world.proxy_define_metric(kind, &name);
            put(&mut host, id, |host, id| write(host, out, &id.to_le_bytes()))
        },
    )?;
    linker.func_wrap("env", "proxy_increment_metric", |host: Host, id: u32, by: i64| {
        code(host.data().world.proxy_increment_metric(id, by))
    })?;
    linker.func_wrap("env", "proxy_record_metric", |host: Host, id: u32, value: u64| {
        code(host.data().world.proxy_record_metric(id, value))
    })?;
    linker.func_wrap("env", "proxy_get_metric", |mut host: Host, id: u32, out: u32| {
        let value = host.data().world.proxy_get_metric(id);
        put(&mut host, value, |host, value| write(host, out, &value.to_le_bytes()))
    })?;
    Ok(())
}

fn link_shared(linker: &mut Linker<Vm>) -> Result<(), wasmi::errors::LinkerError> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut host: Host, key: u32, key_size: u32, data: u32, size: u32, cas: u32| {
            let key = read(&host, key, key_size);
            let value = host.data().world.proxy_get_shared_data(&key);
            put(&mut host, value, |host, (bytes, ticket)| {
                give(host, &bytes, data, size);
                write(host, cas, &ticket.to_le_bytes());
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |host: Host, key: u32, key_size: u32, value: u32, size: u32, cas: u32| {
            let (key, value) = (read(&host, key, key_size), read(&host, value, size));
            code(host.data().world.proxy_set_shared_data(&key, &value, cas))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |mut host: Host,
         cluster: u32,
         cluster_size: u32,
         headers: u32,
         headers_size: u32,
         _body: u32,
         _body_size: u32,
         _trailers: u32,
         _trailers_size: u32,
         timeout: u32,
         out: u32| {
            let cluster = text(&host, cluster, cluster_size);
            let headers = cohort::http::Headers::from_wire(read(&host, headers, headers_size));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = headers.iter().map(|(name, value)| (text(name), text(value))).collect();
            let token = host.data().world.proxy_http_call(&cluster, headers, timeout.into());
            put(&mut host, token, |host, token| write(host, out, &token.to_le_bytes()))
        },
    )?;
    Ok(())
}

fn link_wasi(linker: &mut Linker<Vm>) -> Result<(), wasmi::errors::LinkerError> {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap(WASI, "random_get", |mut host: Host, buffer: u32, size: u32| {
        let bytes = host.data().world.random_get(size as usize);
        put(&mut host, bytes, |host, bytes| write(host, buffer, &bytes))
    })?;
    linker.func_wrap(
        WASI,
        "clock_time_get",
        |mut host: Host, clock: u32, _precision: u64, out: u32| {
            let time = host.data().world.clock_time_get(clock);
            put(&mut host, time, |host, time| write(host, out, &time.to_le_bytes()))
        },
    )?;
    linker.func_wrap(WASI, "environ_sizes_get", |mut host: Host, count: u32, size: u32| {
        let entries = environment(&host.data().world);
        let bytes: usize = entries.iter().map(|entry| entry.len()).sum();
        write(&mut host, count, &(entries.len() as u32).to_le_bytes());
        write(&mut host, size, &(bytes as u32).to_le_bytes());
        0u32
    })?;
    linker.func_wrap(WASI, "environ_get", |mut host: Host, entries: u32, buffer: u32| {
        let Ok(_) = host.data().world.environ_get() else { return status::INTERNAL_FAILURE };
        let mut at = buffer;
        for (index, entry) in environment(&host.data().world).iter().enumerate() {
            write(&mut host, entries + 4 * index as u32, &at.to_le_bytes());
            write(&mut host, at, entry);
            at += entry.len() as u32;
        }
        0
    })?;
    Ok(())
}

/// Answers whatever else the module imports with Unimplemented.
fn stub(linker: &mut Linker<Vm>, module: &Module) {
    for import in module.imports() {
        let Some(ty) = import.ty().func() else { continue };
        // What is linked already stays.
        linker
            .func_new(import.module(), import.name(), ty.clone(), |_, _, results| {
                for result in results {
                    *result = wasmi::Val::I32(12);
                }
                Ok(())
            })
            .ok();
    }
}

/// Each variable as `NAME=value` and a NUL.
fn environment(world: &World) -> Vec<Vec<u8>> {
    let state = world.state();
    let entries = state.environment.iter();
    entries.map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn of(map: u32) -> Answer<Map> {
    Map::of(map).ok_or(status::BAD_ARGUMENT)
}

fn code(answer: Answer<()>) -> u32 {
    answer.err().unwrap_or(0)
}

fn put<T>(host: &mut Host, answer: Answer<T>, place: impl FnOnce(&mut Host, T)) -> u32 {
    match answer {
        Ok(value) => {
            place(host, value);
            0
        }
        Err(status) => status,
    }
}

fn memory(host: &Host) -> Memory {
    let exported = || host.get_export("memory").and_then(Extern::into_memory);
    host.data().memory.or_else(exported).expect("a memory")
}

fn read(host: &Host, at: u32, size: u32) -> Vec<u8> {
    memory(host).data(host)[at as usize..][..size as usize].to_vec()
}

fn text(host: &Host, at: u32, size: u32) -> String {
    String::from_utf8(read(host, at, size)).expect("text that is UTF-8")
}

fn write(host: &mut Host, at: u32, bytes: &[u8]) {
    memory(host).data_mut(host)[at as usize..][..bytes.len()].copy_from_slice(bytes);
}

/// Hands bytes over in memory that the module allocates; none at all where there are none.
fn give(host: &mut Host, bytes: &[u8], data: u32, size: u32) {
    let mut at = 0;
    if !bytes.is_empty() {
        let malloc = host.data().malloc.expect("malloc");
        at = malloc.call(&mut *host, bytes.len() as u32).expect("memory");
        write(host, at, bytes);
    }
    write(host, data, &at.to_le_bytes());
    write(host, size, &(bytes.len() as u32).to_le_bytes());
}

/// A header map in the proxy's encoding.
fn wire(lines: &Lines) -> Vec<u8> {
    let mut bytes = (lines.len() as u32).to_le_bytes().to_vec();
    for (name, value) in lines {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for part in lines.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(part);
        bytes.push(0);
    }
    bytes
}
