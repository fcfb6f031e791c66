//! Takes memory until there is none when it is asked which tasks there are.

fn no_task() -> dacapo::Task {
    let mut blocks = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![0x5a_u8; 1024 * 1024]));
    }
}

dacapo::tasks![no_task()];
