//! What a component may export beside its tasks: the functions of the WIT interface `hooks`.

use wasmtime::component::InstancePre;
use wasmtime::{AsContextMut, Store};

use crate::context::Context;
use crate::world::RunError;

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dacapo:host;
            world hooked {
                export dacapo:task/hooks@1.1.0;
            }
        ",
        world: "dacapo:host/hooked",
        exports: { default: async },
        with: {
            "dacapo:task/context": crate::generated::dacapo::task::context,
            "dacapo:task/types": crate::generated::dacapo::task::types,
            "dacapo:task/wait": crate::generated::dacapo::task::wait,
        },
    });
}

/// A call of a hook.
#[derive(Debug, Clone, PartialEq)]
pub enum HookCall {
    /// `on-start`
    Start,
    /// `on-success`, with the output: JSON text.
    Success(String),
    /// `on-failure`
    Failure(RunError),
    /// `on-cancel`
    Cancel,
    /// `on-complete`, with the output or why there is none.
    Complete(Result<String, RunError>),
}

/// What every call of a component is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// The id of the task.
    pub task: &'s str,
    /// What the guest may know of its run.
    pub context: &'s Context,
    /// JSON text.
    pub payload: &'s String,
}

/// The hooks of a component that exports some, ready to be instantiated.
pub struct HooksPre<T: 'static>(generated::HookedPre<T>);

impl<T: Send + 'static> HooksPre<T> {
    /// The hooks of a component; `None`: it exports none.
    pub fn new(component: &InstancePre<T>) -> Option<Self> {
        generated::HookedPre::new(component.clone()).ok().map(Self)
    }

    /// Makes an instance and calls a hook of the task. The inner error is the hook's own, for people.
    ///
    /// # Errors
    ///
    /// If the guest traps.
    pub async fn call(
        &self,
        store: &mut Store<T>,
        subject: Subject<'_>,
        call: &HookCall,
    ) -> wasmtime::Result<Result<(), String>> {
        let Subject { task, context, payload } = subject;
        let instance = self.0.instantiate_async(&mut *store).await?;
        let hooks = instance.dacapo_task_hooks();
        let store = store.as_context_mut();
        match call {
            HookCall::Start => hooks.call_on_start(store, task, context, payload).await,
            HookCall::Success(output) => hooks.call_on_success(store, task, context, payload, output).await,
            HookCall::Failure(error) => hooks.call_on_failure(store, task, context, payload, error).await,
            HookCall::Cancel => hooks.call_on_cancel(store, task, context, payload).await,
            HookCall::Complete(outcome) => {
                hooks.call_on_complete(store, task, context, payload, outcome.as_ref()).await
            }
        }
    }
}
