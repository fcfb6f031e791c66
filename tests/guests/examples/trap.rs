//! Traps, two named functions deep: a backtrace shows `outer_function` and `inner_function`.

use dacapo::prelude::*;

#[inline(never)]
fn outer_function(depth: u32) -> u32 {
    inner_function(std::hint::black_box(depth) + 1) + 1
}

#[inline(never)]
fn inner_function(depth: u32) -> u32 {
    if std::hint::black_box(depth) > 0 {
        abort();
    }
    depth
}

fn abort() -> ! {
    #[cfg(target_arch = "wasm32")]
    std::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

dacapo::tasks![task("trap", |_, _: Value| Ok(outer_function(1)))];
