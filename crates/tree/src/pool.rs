//! The threads that walk and copy trees.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Stack of each thread. Walks go down by recursion, to directories as deep as [`crate::limits::DEPTH_MAX`]; memory that
/// is not used is not taken.
const STACK_BYTES: usize = 128 * 1024 * 1024;

fn pool() -> &'static ThreadPool {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| {
        ThreadPoolBuilder::new()
            .stack_size(STACK_BYTES)
            .thread_name(|index| format!("tree-{index}"))
            .build()
            .expect("a process can start threads")
    })
}

/// Runs `work` on the threads of this crate some time later. Nobody waits for it.
pub(crate) fn beside(work: impl FnOnce() + Send + 'static) {
    pool().spawn(work);
}

/// Runs `work` on the threads of this crate, one for each processor, where it may recurse deeply and split itself.
pub(crate) fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    pool().install(work)
}
