//! Never says which tasks there are.

fn no_task() -> dacapo::Task {
    while std::hint::black_box(true) {}
    panic!("the loop has no end")
}

dacapo::tasks![no_task()];
