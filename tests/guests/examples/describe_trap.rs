//! Traps when it is asked which tasks there are.

fn no_task() -> dacapo::Task {
    panic!("this component cannot say which tasks it has")
}

dacapo::tasks![no_task()];
