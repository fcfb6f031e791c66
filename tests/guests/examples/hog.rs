//! Takes memory, a MiB at a time, until it has `mib` of them or is refused; returns how many.

use dacapo::prelude::*;

const MIB: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Hog {
    mib: usize,
}

fn hog(_: &Context, hog: Hog) -> Result<usize> {
    let mut blocks = Vec::new();
    while blocks.len() < hog.mib {
        let mut block = Vec::new();
        if block.try_reserve_exact(MIB).is_err() {
            break;
        }
        block.resize(MIB, 0x5a_u8);
        blocks.push(std::hint::black_box(block));
    }
    Ok(blocks.len())
}

dacapo::tasks![task("hog", hog)];
