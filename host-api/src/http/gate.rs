//! The functions of `wasi:http` that tell the guest something new: wasmtime-wasi's, through the
//! journal. They take the places of wasmtime-wasi's own in the linker.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest};

use super::bodies::{Incoming, Outgoing};
use super::code::Failed;
use super::sent::Sending;
use super::{HttpError, Part, RequestOptions, lost};
use crate::journal::{Blob, Kind, Question};
use crate::world::HostFault;
use crate::{TaskCtx, TaskView};

/// The interfaces as wasmtime-wasi links them.
const TYPES: &str = "wasi:http/types@0.2.12";
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

/// Puts the functions below in place of those that are linked.
pub(crate) fn add_to_linker<T: TaskView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[method]future-incoming-response.get", |mut store, (id,): (Resource<_>,)| {
        Ok((store.data_mut().task().response(id)?,))
    })?;
    types.func_wrap("[method]future-incoming-response.subscribe", |mut store, (id,): (Resource<_>,)| {
        Ok((store.data_mut().task().await_response(id)?,))
    })?;
    types.func_wrap("[method]incoming-response.consume", |mut store, (id,): (Resource<_>,)| {
        Ok((store.data_mut().task().consume(id)?,))
    })?;
    types.func_wrap("[method]future-trailers.get", |mut store, (id,): (Resource<_>,)| {
        Ok((store.data_mut().task().trailers(id)?,))
    })?;
    types.func_wrap("[method]incoming-body.stream", |mut store, (id,): (Resource<_>,)| {
        Ok((store.data_mut().task().incoming(id)?,))
    })?;
    types.func_wrap("[method]outgoing-request.body", |mut store, (id,): (Resource<_>,)| {
        Ok((store.data_mut().task().body(id)?,))
    })?;
    types.func_wrap("[method]outgoing-body.write", |mut store, (id,): (Resource<_>,)| {
        Ok((store.data_mut().task().outgoing(id)?,))
    })?;
    types.func_wrap("[static]outgoing-body.finish", |mut store, (id, trailers): (Resource<_>, Option<_>)| {
        Ok((store.data_mut().task().finish_outgoing(id, trailers)?,))
    })?;
    linker.instance(HANDLER)?.func_wrap("handle", |mut store, (request, options): (Resource<_>, Option<_>)| {
        Ok((store.data_mut().task().handle(request, options)?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Headers or trailers.
pub(crate) type Fields = Vec<(String, Blob)>;

/// The head of a response.
#[derive(Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
}

/// What `future-incoming-response.get` and `future-trailers.get` say.
#[derive(Serialize, Deserialize)]
pub(crate) enum Got<T> {
    NotYet,
    Taken,
    Here(T),
    Failed(Failed),
}

/// How wasmtime-wasi says it.
type Getting<T> = Option<Result<Result<T, ErrorCode>, ()>>;

impl<T> Got<T> {
    fn of<R>(getting: &Getting<R>, here: impl FnOnce(&R) -> wasmtime::Result<T>) -> wasmtime::Result<Self> {
        Ok(match getting {
            None => Self::NotYet,
            Some(Err(())) => Self::Taken,
            Some(Ok(Err(code))) => Self::Failed(Failed(code.clone())),
            Some(Ok(Ok(what))) => Self::Here(here(what)?),
        })
    }

    fn again<R>(self, here: impl FnOnce(T) -> wasmtime::Result<R>) -> wasmtime::Result<Getting<R>> {
        Ok(match self {
            Self::NotYet => None,
            Self::Taken => Some(Err(())),
            Self::Failed(Failed(code)) => Some(Ok(Err(code))),
            Self::Here(what) => Some(Ok(Ok(here(what)?))),
        })
    }
}

impl TaskCtx {
    /// The guest waits: what has not been read of responses is lost, as if the guest had been dropped.
    pub(crate) fn end_exchanges(&mut self) {
        self.hooks.end_exchanges();
        for resource in self.table.iter_mut() {
            if let Some(response) = resource.downcast_mut::<HostFutureIncomingResponse>()
                && !matches!(response, HostFutureIncomingResponse::Consumed)
            {
                *response = HostFutureIncomingResponse::Ready(Err(lost()));
            }
        }
    }

    fn body(&mut self, id: Resource<HostOutgoingRequest>) -> wasmtime::Result<Result<Resource<HostOutgoingBody>, ()>> {
        let request = id.rep();
        let body = types::HostOutgoingRequest::body(&mut self.http_view(), id)?;
        if let Ok(body) = &body {
            let part = Part { exchange: 0, sending: Sending::default() };
            self.hooks.parts.insert(request, part.clone());
            self.hooks.parts.insert(body.rep(), part);
        }
        Ok(body)
    }

    /// Sends a request. What is recorded is in [`super::Hooks`], where the request is known.
    fn handle(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> wasmtime::Result<Result<Resource<HostFutureIncomingResponse>, ErrorCode>> {
        // One that has no body could have the number of another one that had.
        let sending = self.table.get(&request)?.body.is_some().then(|| self.part(&request).sending);
        let handled = outgoing_handler::Host::handle(&mut self.http_view(), request, options);
        if let Some(fault) = self.hooks.fault.take() {
            return Err(fault);
        }
        match handled {
            Ok(response) => {
                let exchange = self.hooks.exchanges;
                if let Some(sending) = sending {
                    let body = sending.sets_out(exchange);
                    let question =
                        || Question::new(Kind::RequestBody).exchange(exchange).found_by(body, sending.shown_bytes());
                    self.journal.ask_now(question, || Ok(()))?;
                }
                self.hooks.parts.insert(response.rep(), Part { exchange, ..Part::default() });
                Ok(Ok(response))
            }
            Err(error) => Ok(Err(error.downcast()?)),
        }
    }

    fn part<T>(&self, resource: &Resource<T>) -> Part {
        self.hooks.parts.get(&resource.rep()).cloned().unwrap_or_default()
    }

    fn await_response(&mut self, id: Resource<HostFutureIncomingResponse>) -> wasmtime::Result<Resource<DynPollable>> {
        let exchange = self.part(&id).exchange;
        self.journal.ask_now(|| Question::new(Kind::AwaitResponse).exchange(exchange), || Ok(()))?;
        self.looks_at(exchange);
        types::HostFutureIncomingResponse::subscribe(&mut self.http_view(), id)
    }

    /// The guest wants the response to this request.
    fn looks_at(&self, exchange: u32) {
        if let Some(pins) = &self.pins {
            pins.looks_at(exchange);
        }
    }

    fn response(
        &mut self,
        id: Resource<HostFutureIncomingResponse>,
    ) -> wasmtime::Result<Getting<Resource<HostIncomingResponse>>> {
        let part = self.part(&id);
        self.looks_at(part.exchange);
        let question = || Question::new(Kind::Response).exchange(part.exchange);
        let getting = match self.journal.past::<Got<Head>>(question)? {
            Some(got) => {
                if matches!(got, Got::Here(_) | Got::Failed(_)) {
                    *self.table.get_mut(&id)? = HostFutureIncomingResponse::Consumed;
                }
                got.again(|Head { status, headers }| {
                    let headers = FieldMap::new_immutable(&mut self.hooks, header_map(headers)?);
                    let body = Some(HostIncomingBody::new(Lost.boxed_unsync()));
                    Ok(self.table.push(HostIncomingResponse { status, headers, body })?)
                })?
            }
            None => {
                let getting = types::HostFutureIncomingResponse::get(&mut self.http_view(), id)?;
                if self.journal.is_complete() {
                    let got = Got::of(&getting, |response| {
                        let response = self.table.get(response)?;
                        Ok(Head { status: response.status, headers: fields(&response.headers) })
                    })?;
                    self.journal.keep(&got);
                }
                getting
            }
        };
        if let (Some(_), Some(pins)) = (&getting, &self.pins) {
            pins.arrives(part.exchange);
        }
        if let Some(Ok(Ok(response))) = &getting {
            self.hooks.parts.insert(response.rep(), part);
        }
        Ok(getting)
    }

    fn consume(
        &mut self,
        id: Resource<HostIncomingResponse>,
    ) -> wasmtime::Result<Result<Resource<HostIncomingBody>, ()>> {
        let part = self.part(&id);
        let consumed = types::HostIncomingResponse::consume(&mut self.http_view(), id)?;
        if let Ok(body) = &consumed {
            self.hooks.parts.insert(body.rep(), part);
        }
        Ok(consumed)
    }

    fn trailers(&mut self, id: Resource<HostFutureTrailers>) -> wasmtime::Result<Getting<Option<Resource<FieldMap>>>> {
        let past: Option<Got<Option<Fields>>> = self.journal.past(|| Question::new(Kind::Trailers))?;
        if let Some(got) = past {
            if matches!(got, Got::Here(_) | Got::Failed(_)) {
                *self.table.get_mut(&id)? = HostFutureTrailers::Consumed;
            }
            return got.again(|trailers| match trailers {
                Some(trailers) => {
                    let trailers = FieldMap::new_immutable(&mut self.hooks, header_map(trailers)?);
                    Ok(Some(self.table.push(trailers)?))
                }
                None => Ok(None),
            });
        }
        let getting = types::HostFutureTrailers::get(&mut self.http_view(), id)?;
        if !self.journal.is_complete() {
            return Ok(getting);
        }
        self.journal.keep(&Got::of(&getting, |trailers| match trailers {
            Some(trailers) => Ok(Some(fields(self.table.get(trailers)?))),
            None => Ok(None),
        })?);
        Ok(getting)
    }

    fn incoming(&mut self, id: Resource<HostIncomingBody>) -> wasmtime::Result<Result<Resource<DynInputStream>, ()>> {
        let Some(stream) = self.table.get_mut(&id)?.take_stream() else { return Ok(Err(())) };
        let (exchange, era) = (self.part(&id).exchange, self.hooks.era.clone());
        let stream: DynInputStream = Box::new(Incoming::new(Box::new(stream), self.journal.clone(), exchange, era));
        Ok(Ok(self.table.push_child(stream, &id)?))
    }

    fn outgoing(&mut self, id: Resource<HostOutgoingBody>) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let Some(stream) = self.table.get_mut(&id)?.take_output_stream() else { return Ok(Err(())) };
        let stream: DynOutputStream = Box::new(Outgoing::new(stream, self.journal.clone(), self.part(&id).sending));
        Ok(Ok(self.table.push_child(stream, &id)?))
    }

    fn finish_outgoing(
        &mut self,
        id: Resource<HostOutgoingBody>,
        trailers: Option<Resource<FieldMap>>,
    ) -> wasmtime::Result<Result<(), ErrorCode>> {
        let sending = self.part(&id).sending;
        let question = || {
            let question = Question::new(Kind::FinishBody).exchange(sending.exchange());
            question.found_by(sending.finish(), sending.shown_bytes())
        };
        let past: Option<Result<(), Failed>> = self.journal.past(question)?;
        let finished = match types::HostOutgoingBody::finish(&mut self.http_view(), id, trailers) {
            Ok(()) => Ok(()),
            Err(error) => Err(Failed(error.downcast()?)),
        };
        let finished = match past {
            Some(past) => past,
            None => {
                self.journal.keep(&finished);
                finished
            }
        };
        Ok(finished.map_err(|Failed(code)| code))
    }
}

fn fields(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str().into(), Blob(Bytes::copy_from_slice(value.as_bytes())))).collect()
}

pub(crate) fn header_map(fields: Fields) -> Result<HeaderMap, HostFault> {
    let mut map = HeaderMap::new();
    for (name, Blob(value)) in fields {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_maybe_shared(value)) else {
            return Err(HostFault("the journal of the attempt has a header that is none".into()));
        };
        map.append(name, value);
    }
    Ok(map)
}

/// A body of which nothing will come any more.
struct Lost;

impl hyper::body::Body for Lost {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Poll::Ready(Some(Err(lost())))
    }
}
