//! Has no task.

dacapo::tasks![];
