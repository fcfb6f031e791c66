//! Who may do what.
//!
//! A key opens the environment it belongs to, and nothing else in a request names an environment;
//! but with a key of `preview`, or of `dev`, the header `x-trigger-branch` names a branch of it.
//! The admin key opens the routes under `/admin`, and any environment that the header
//! `x-dacapo-environment` names; so does a session ([`session`](super::session)). A public access token ([`tokens`]) opens what its scopes name, on
//! the routes that ask for a [`Bearer`]; those that ask for a [`Caller`] refuse it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use super::Server;
use super::error::{ApiError, Result};
use super::session::Session;
use super::tokens::{self, Token};
use crate::api::RealtimeClaims;
use crate::clock::Clock;
use crate::deploy::Target;
use crate::keys;
use crate::model::branch;
use crate::model::id::EnvironmentId;
use crate::model::limits::{MAX_TOKEN_CHARS, TRIGGER_TOKEN_LIFE};
use crate::model::run::{Run, later};
use crate::model::scope::{Action, OneTimeToken, Resource, allows, allows_some};
use crate::secrets::{self, ServerKey};
use crate::storage::{Environment, EnvironmentKind, Storage};

/// Keys, branches and signers that are kept in memory; when there are more, all are forgotten and read again.
const MAX_KNOWN_KEYS: usize = 10_000;
/// A longer bearer is no key.
const MAX_KEY_CHARS: usize = 256;
/// Names the environment that the admin key is to open.
const ENVIRONMENT_HEADER: &str = "x-dacapo-environment";
/// Names the branch that a key of `preview` or `dev` is to open.
const BRANCH_HEADER: &str = "x-trigger-branch";
/// What people are shown of the admin key, and of a session.
const ADMIN: &str = "admin";
/// With a key of `dev`, no branch.
const NO_BRANCH: &str = "default";
/// The claims from which the client makes a public token.
const CLAIMS_HEADER: HeaderName = HeaderName::from_static("x-trigger-jwt-claims");
/// A public token, where the client cannot make one.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-trigger-jwt");

/// Checks keys.
pub struct Auth {
    storage: Storage,
    server_key: Arc<ServerKey>,
    clock: Clock,
    admin_key_hash: [u8; 32],
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    generation: u64,
    environments: HashMap<[u8; 32], Arc<Environment>>,
    branches: HashMap<(EnvironmentId, String), Arc<Environment>>,
    signers: HashMap<EnvironmentId, Option<Arc<Signers>>>,
}

impl Known {
    fn len(&self) -> usize {
        self.environments.len() + self.branches.len() + self.signers.len()
    }
}

/// An environment with its keys: those whose tokens it takes.
struct Signers {
    environment: Arc<Environment>,
    secrets: Vec<Arc<str>>,
}

impl Auth {
    /// Checks keys against `storage`, and against the admin key.
    pub fn new(storage: Storage, server_key: Arc<ServerKey>, clock: Clock, admin_key: &str) -> Self {
        Self { storage, server_key, clock, admin_key_hash: secrets::hash(admin_key), known: Mutex::default() }
    }

    /// The environment that a key opens.
    async fn environment_of(&self, hash: [u8; 32]) -> Result<Option<Arc<Environment>>> {
        let generation = self.storage.settings_generation();
        if let Some(environment) = self.recall(generation, |known| known.environments.get(&hash).cloned()) {
            return Ok(Some(environment));
        }
        let Some((key, environment)) = self.storage.key_by_hash(hash).await? else { return Ok(None) };
        if !secrets::same(&key.hash, &hash) {
            return Ok(None);
        }
        let environment = Arc::new(environment);
        self.know(generation, |known| drop(known.environments.insert(hash, environment.clone())));
        Ok(Some(environment))
    }

    /// What people are shown of a key.
    async fn hint(&self, key: &str) -> Result<String> {
        let (key, environment) = self.storage.key_by_hash(secrets::hash(key)).await?.ok_or_else(invalid_key)?;
        Ok(keys::hint(&self.server_key, &environment.slug, &key))
    }

    /// What is known of the settings of `generation`.
    fn recall<T>(&self, generation: u64, find: impl FnOnce(&Known) -> Option<T>) -> Option<T> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation == generation { find(&known) } else { None }
    }

    /// Keeps what was read when the settings were those of `generation`.
    fn know(&self, generation: u64, keep: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation < generation || known.len() >= MAX_KNOWN_KEYS {
            *known = Known { generation, ..Known::default() };
        }
        if known.generation == generation {
            keep(&mut known);
        }
    }

    /// An environment with the keys that sign its tokens.
    async fn signers(&self, environment: EnvironmentId) -> Result<Option<Arc<Signers>>> {
        let generation = self.storage.settings_generation();
        if let Some(signers) = self.recall(generation, |known| known.signers.get(&environment).cloned()) {
            return Ok(signers);
        }
        let found = self.storage.signing_keys(environment).await?;
        let signers = found.map(|(environment, keys)| -> Result<_> {
            let open = |key: crate::storage::ApiKey| Ok(self.server_key.open(&key.sealed, &key.id.to_string())?.into());
            let secrets = keys.into_iter().map(open).collect::<Result<_>>()?;
            Ok(Arc::new(Signers { environment: Arc::new(environment), secrets }))
        });
        let signers = signers.transpose()?;
        self.know(generation, |known| drop(known.signers.insert(environment, signers.clone())));
        Ok(signers)
    }

    /// The environment for a branch of `parent`, if something was deployed to it.
    async fn branch(&self, parent: EnvironmentId, name: &str) -> Result<Option<Arc<Environment>>> {
        let generation = self.storage.settings_generation();
        let place = (parent, name.to_owned());
        if let Some(environment) = self.recall(generation, |known| known.branches.get(&place).cloned()) {
            return Ok(Some(environment));
        }
        let found = self.storage.environment_of_branch(parent, place.1.clone()).await?.map(Arc::new);
        if let Some(environment) = found.clone() {
            self.know(generation, |known| drop(known.branches.insert(place, environment)));
        }
        Ok(found)
    }

    /// Whose request this is, where it is let in. `None`: the operator's.
    pub(super) async fn holder(&self, parts: &Parts) -> Result<Option<Holder>> {
        let Shown::Text(text) = self.shown(parts).await? else { return Ok(None) };
        if tokens::is_token(text) {
            return Ok(Some(Holder::Tokens(self.bearer_of_token(text).await?.caller.environment.id)));
        }
        if self.is_admin_key(text) {
            return Ok(None);
        }
        let hash = secrets::hash(text);
        self.environment_of(hash).await?.ok_or_else(invalid_key)?;
        Ok(Some(Holder::Key(hash)))
    }

    /// Whether a text is the admin key.
    pub(super) fn is_admin_key(&self, text: &str) -> bool {
        secrets::same(&secrets::hash(text), &self.admin_key_hash)
    }

    /// What a session is stored under.
    pub(super) fn session_hash(&self, token: &str) -> [u8; 32] {
        secrets::session_hash(&self.admin_key_hash, token)
    }

    /// When the session with this token ends, if it goes on.
    pub(super) async fn session(&self, token: &str) -> Result<Option<Timestamp>> {
        Ok(self.storage.session(self.session_hash(token), self.clock.now()).await?)
    }

    async fn shown<'p>(&self, parts: &'p Parts) -> Result<Shown<'p>> {
        match Session::of(self, parts).await? {
            Some(_) => Ok(Shown::Session),
            None => bearer_text(parts).map(Shown::Text),
        }
    }

    /// Who shows what, and where they want to be.
    async fn open(&self, parts: &Parts) -> Result<(Bearer, Place)> {
        let key = match self.shown(parts).await? {
            Shown::Text(text) if tokens::is_token(text) => {
                return Ok((self.bearer_of_token(text).await?, Place::Itself));
            }
            Shown::Text(text) if !self.is_admin_key(text) => Some(text),
            Shown::Text(_) | Shown::Session => None,
        };
        let is_admin = key.is_none();
        let environment = if let Some(text) = key {
            self.environment_of(secrets::hash(text)).await?.ok_or_else(invalid_key)?
        } else {
            let slug = parts.headers.get(ENVIRONMENT_HEADER).and_then(|slug| slug.to_str().ok()).ok_or_else(|| {
                ApiError::bad_request(format!(
                    "with the admin key, name an environment in the header {ENVIRONMENT_HEADER}"
                ))
            })?;
            Arc::new(self.environment(slug).await?)
        };
        let additional = key.filter(|text| keys::is_additional(text));
        let grant = additional.map_or(Grant::Root, |text| Grant::Additional(text.into()));
        let place = place_of(&environment, parts)?;
        Ok((Bearer { caller: Caller { environment, is_admin }, grant }, place))
    }

    /// Whoever it is, in the place where they want to be.
    async fn enter(&self, mut bearer: Bearer, place: Place) -> Result<Bearer> {
        match place {
            Place::Itself => {}
            Place::Unnamed => return Err(unnamed_branch()),
            Place::Branch(name) => {
                let branch = self.branch(bearer.caller.environment.id, &name).await?;
                bearer.caller.environment = branch.ok_or_else(|| no_such_branch(&name))?;
            }
        }
        Ok(bearer)
    }

    /// Whoever shows a public access token.
    async fn bearer_of_token(&self, text: &str) -> Result<Bearer> {
        let environment = tokens::environment_of(text)?;
        let signers = self.signers(environment).await?.ok_or_else(tokens::bad_signature)?;
        let (token, secret) = tokens::verify(text, &signers.secrets, self.clock.now())?;
        let caller = Caller { environment: signers.environment.clone(), is_admin: false };
        Ok(Bearer { caller, grant: Grant::Token { token, secret } })
    }

    /// The environment of this slug; `staging`, `production` and `development` are understood.
    pub(super) async fn environment(&self, slug: &str) -> Result<Environment> {
        let slug = match slug {
            "staging" => "stg",
            "production" => "prod",
            "development" => "dev",
            slug => slug,
        };
        let environments = self.storage.environments().await?;
        let found = environments.into_iter().find(|environment| environment.slug == slug);
        found.ok_or_else(|| {
            ApiError::not_found("there is no such environment: choose dev, staging, production or preview")
        })
    }
}

/// Why a request may be let in.
enum Shown<'p> {
    /// What stands behind `Bearer`.
    Text(&'p str),
    /// A session that goes on.
    Session,
}

/// Whoever sent a request, and the environment they act in.
pub(super) struct Caller {
    pub(super) environment: Arc<Environment>,
    /// Whether the admin key or a session was shown: then any environment is open.
    pub(super) is_admin: bool,
}

/// Whoever sent a request on a route where also the parent of branches may be meant: that of what
/// its branches share.
pub(super) struct Owner(pub(super) Caller);

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// Those with the key of this hash.
    Key([u8; 32]),
    /// Those with public access tokens of this environment.
    Tokens(EnvironmentId),
}

/// Where somebody may deploy to, a branch that does not exist yet included.
pub(super) struct Deployer {
    pub(super) target: Target,
    /// Who it is, for people: `admin`, or the hint of the key.
    pub(super) hint: String,
}

/// Where in the environment that a key opens somebody wants to be.
enum Place {
    /// In the environment.
    Itself,
    /// In a branch; they do not say in which.
    Unnamed,
    /// In this branch.
    Branch(String),
}

/// Whoever sent a request on a route that public access tokens may open.
pub(super) struct Bearer {
    /// As whom they act.
    pub(super) caller: Caller,
    grant: Grant,
}

/// What was shown.
enum Grant {
    /// A key from which the client makes tokens itself; or the admin key.
    Root,
    /// A key for which the server makes the tokens.
    Additional(Arc<str>),
    /// A token, and the key that signed it.
    Token { token: Token, secret: Arc<str> },
}

/// Whoever showed the admin key, or a session.
pub(super) struct Admin;

impl Bearer {
    /// Refuses who may not do this to any of these things.
    pub(super) fn may(&self, action: Action, resources: &[Resource<'_>]) -> Result<()> {
        let Some(token) = self.token() else { return Ok(()) };
        let is_open = resources.iter().any(|resource| allows(&token.scopes, action, *resource));
        if is_open { Ok(()) } else { Err(ApiError::out_of_scope()) }
    }

    /// Refuses who may not do this to anything.
    pub(super) fn may_some(&self, action: Action) -> Result<()> {
        match self.token() {
            Some(token) if !allows_some(&token.scopes, action) => Err(ApiError::out_of_scope()),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses who may not look at this run.
    pub(super) fn may_read(&self, run: &Run) -> Result<()> {
        if self.token().is_none() {
            return Ok(());
        }
        let (id, batch) = (run.id.to_string(), run.origin.batch.map(|batch| batch.to_string()));
        let mut resources = vec![Resource::one("runs", &id), Resource::one("tasks", &run.task)];
        resources.extend(run.tags.iter().map(|tag| Resource::one("tags", tag)));
        resources.extend(batch.as_ref().map(|batch| Resource::one("batch", batch)));
        self.may(Action::Read, &resources)
    }

    /// Refuses who may not change this run.
    pub(super) fn may_write(&self, run: &Run) -> Result<()> {
        self.may(Action::Write, &[Resource::one("runs", &run.id.to_string()), Resource::one("tasks", &run.task)])
    }

    /// Refuses who shows a token: `what` takes a key.
    pub(super) fn must_be_key(&self, what: &str) -> Result<()> {
        match &self.grant {
            Grant::Root | Grant::Additional(_) => Ok(()),
            Grant::Token { .. } => Err(ApiError::forbidden(format!(
                "a public access token does not open {what}, whatever its scopes: use an API key"
            ))),
        }
    }

    /// What is to be used up by what is made now.
    pub(super) fn one_time_token(&self) -> Option<OneTimeToken> {
        self.token().and_then(|token| token.one_time)
    }

    /// Columns of realtime feeds that are not for them.
    pub(super) fn skipped_columns(&self) -> &[String] {
        self.token().map_or(&[], |token| &token.realtime.skip_columns)
    }

    /// The header with which a client can follow what it has just made: a token with these scopes,
    /// or, to the holder of a key that makes tokens, what these tokens claim.
    pub(super) fn pass(&self, server: &Server, scopes: Vec<String>) -> Result<[(HeaderName, HeaderValue); 1]> {
        let environment = self.caller.environment.id;
        let (secret, realtime) = match &self.grant {
            Grant::Root => {
                let claims = format!(r#"{{"sub":"{environment}","pub":true}}"#);
                return Ok([(CLAIMS_HEADER, header_value(&claims)?)]);
            }
            Grant::Additional(secret) => (secret, RealtimeClaims::default()),
            Grant::Token { token, secret } => (secret, token.realtime.clone()),
        };
        let now = server.clock.now();
        let made = tokens::NewToken {
            environment,
            scopes,
            expires_at: later(now, TRIGGER_TOKEN_LIFE),
            is_one_time: false,
            realtime,
        };
        Ok([(TOKEN_HEADER, header_value(&tokens::sign(made, secret, now)?)?)])
    }

    /// Who acts, where no token is taken.
    fn into_caller(self) -> Result<Caller> {
        self.must_be_key("this")?;
        Ok(self.caller)
    }

    fn token(&self) -> Option<&Token> {
        match &self.grant {
            Grant::Root | Grant::Additional(_) => None,
            Grant::Token { token, .. } => Some(token),
        }
    }
}

fn header_value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(ApiError::internal)
}

fn invalid_key() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid or Missing API key")
}

/// Which branch of `environment` a request names. Environments without branches take no name.
fn place_of(environment: &Environment, parts: &Parts) -> Result<Place> {
    if environment.branch.is_some() {
        return Ok(Place::Itself);
    }
    let named = || -> Result<Option<String>> {
        let Some(value) = parts.headers.get(BRANCH_HEADER) else { return Ok(None) };
        let bad = |problem: &str| ApiError::bad_request(format!("{BRANCH_HEADER}: {problem}"));
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("it is not UTF-8"))?;
        branch::name_of(text).map_err(|error| bad(&error.to_string()))
    };
    Ok(match environment.kind {
        EnvironmentKind::Preview => named()?.map_or(Place::Unnamed, Place::Branch),
        EnvironmentKind::Development => named()?.filter(|name| name != NO_BRANCH).map_or(Place::Itself, Place::Branch),
        EnvironmentKind::Staging | EnvironmentKind::Production => Place::Itself,
    })
}

fn unnamed_branch() -> ApiError {
    ApiError::bad_request(format!(
        "the key is for branches: name the branch in the header {BRANCH_HEADER} (in the client: `previewBranch`, or \
         TRIGGER_PREVIEW_BRANCH; on the command line: --branch)"
    ))
}

fn no_such_branch(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no branch `{name}`: deploy to it first"))
}

/// What stands behind `Bearer`.
pub(super) fn bearer_text(parts: &Parts) -> Result<&str> {
    let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(invalid_key)?;
    let value = value.to_str().map_err(|_| invalid_key())?;
    let (scheme, text) = value.split_once(' ').ok_or_else(invalid_key)?;
    let text = text.trim();
    let longest = if tokens::is_token(text) { MAX_TOKEN_CHARS } else { MAX_KEY_CHARS };
    if !scheme.eq_ignore_ascii_case("bearer") || text.is_empty() || text.len() > longest {
        return Err(invalid_key());
    }
    Ok(text)
}

impl<S> FromRequestParts<S> for Bearer
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let auth = &Arc::<Server>::from_ref(state).auth;
        let (bearer, place) = auth.open(parts).await?;
        auth.enter(bearer, place).await
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Bearer::from_request_parts(parts, state).await?.into_caller()
    }
}

impl<S> FromRequestParts<S> for Owner
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let auth = &Arc::<Server>::from_ref(state).auth;
        match auth.open(parts).await? {
            (bearer, Place::Itself | Place::Unnamed) => bearer.into_caller().map(Self),
            (bearer, place) => auth.enter(bearer, place).await?.into_caller().map(Self),
        }
    }
}

impl<S> FromRequestParts<S> for Deployer
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let auth = &Arc::<Server>::from_ref(state).auth;
        let (bearer, place) = auth.open(parts).await?;
        let Caller { environment: parent, is_admin } = bearer.into_caller()?;
        let hint = if is_admin { ADMIN.into() } else { auth.hint(bearer_text(parts)?).await? };
        let target = match place {
            Place::Itself => Target::There(parent.id),
            Place::Unnamed => return Err(unnamed_branch()),
            Place::Branch(name) => match auth.branch(parent.id, &name).await? {
                Some(branch) => Target::There(branch.id),
                None => Target::NewBranch { parent, name },
            },
        };
        Ok(Self { target, hint })
    }
}

impl<S> FromRequestParts<S> for Admin
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let auth = &Arc::<Server>::from_ref(state).auth;
        let text = match auth.shown(parts).await? {
            Shown::Session => return Ok(Self),
            Shown::Text(text) if auth.is_admin_key(text) => return Ok(Self),
            Shown::Text(text) => text,
        };
        if tokens::is_token(text) {
            return Err(ApiError::forbidden("this takes the admin key, not a public access token"));
        }
        auth.environment_of(secrets::hash(text)).await?.ok_or_else(invalid_key)?;
        Err(ApiError::forbidden("this takes the admin key, not the key of an environment"))
    }
}
