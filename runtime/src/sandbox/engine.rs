//! The settings of wasmtime, each with its reason.
//!
//! Numbers come from measurements on a 2-core machine: one run costs 17-20 µs with these settings,
//! 71 µs without kept-resident memory, 60 µs with component-model-async, 83 µs without the pool.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

/// Bytes of WebAssembly stack: deep recursion ends as "stack overflow", well before the fiber's
/// own stack of [`FIBER_STACK_BYTES`] could end.
pub(super) const MAX_STACK_BYTES: usize = MIB;
/// Most frames of a backtrace.
pub(super) const MAX_BACKTRACE_FRAMES: usize = 64;
/// Most bytes of one linear memory, which is all that 32-bit code can address.
const MAX_MEMORY_BYTES: usize = 4 << 30;
/// Most elements of a table: functions that are called through pointers.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Most linear memories of one component. Rust, C, Go and JavaScript components have one.
pub(super) const MAX_MEMORIES: u32 = 4;
/// Most tables of one component; an ordinary one has two or three.
pub(super) const MAX_TABLES: u32 = 16;
/// Most core instances of one component; an ordinary one has three or four.
const MAX_CORE_INSTANCES: u32 = 32;
/// Bytes of the native stack on which a guest and the host functions it calls run.
const FIBER_STACK_BYTES: usize = 2 * MIB;
/// Bytes of a linear memory that are zeroed rather than given back between two runs.
const MEMORY_KEEP_RESIDENT_BYTES: usize = MIB;
/// The same for a table.
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;
const MIB: usize = 1024 * 1024;

/// An engine with room for `max_calls` instances at a time.
pub(super) fn engine(max_calls: u32, reads_debug_info: bool) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(max_calls)));
    // Fresh memory is a mapping of the component's image: nothing is copied before it is written.
    config.memory_init_cow(true);
    // Stops loops. Fuel would do so too, at twice the running time.
    config.epoch_interruption(true);
    // Guests of WASI 0.2 cannot use it, and it triples the cost of a run.
    config.concurrency_support(false);
    config.max_wasm_stack(MAX_STACK_BYTES);
    config.async_stack_size(FIBER_STACK_BYTES);
    // A crash shows where it happened, in function names.
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(MAX_BACKTRACE_FRAMES));
    // On a server, debug information of a guest is never read: it comes from outside, and a byte of it can stand for a
    // row of a table. Elsewhere it costs nothing until a guest crashes, and then a look at all of it for each frame.
    config.wasm_backtrace_details(match reads_debug_info {
        true => WasmBacktraceDetails::Enable,
        false => WasmBacktraceDetails::Disable,
    });
    // 64-bit memories need bounds checks and could pass the 4 GiB of a pool slot.
    config.wasm_memory64(false);
    // A guest that is brought back must compute what it computed before, on another machine perhaps.
    // Two things are left that could differ, both rare: memory that neighbours have used up, or that
    // another host's budget refuses, where the guest goes on without it, and where its stack ends.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    Engine::new(&config)
}

fn pool(max_calls: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // Whatever one component may need, `max_calls` of them find it: nobody waits for a neighbour.
    pool.total_component_instances(max_calls);
    pool.total_core_instances(max_calls.saturating_mul(MAX_CORE_INSTANCES));
    pool.total_memories(max_calls.saturating_mul(MAX_MEMORIES));
    pool.total_tables(max_calls.saturating_mul(MAX_TABLES));
    pool.total_stacks(max_calls);
    pool.max_core_instances_per_component(MAX_CORE_INSTANCES);
    pool.max_memories_per_component(MAX_MEMORIES);
    pool.max_tables_per_component(MAX_TABLES);
    pool.max_memory_size(MAX_MEMORY_BYTES);
    pool.table_elements(MAX_TABLE_ELEMENTS);
    // Page faults are what a run costs most: 14 without these two, none with them.
    pool.linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES);
    pool.table_keep_resident(TABLE_KEEP_RESIDENT_BYTES);
    // Zeroes only pages that were written, where the kernel can tell (Linux 6.7).
    pool.pagemap_scan(Enabled::Auto);
    pool
}
