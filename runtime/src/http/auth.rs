//! Who may do what.
//!
//! A key opens the environment it belongs to, and nothing else in a request names an environment.
//! The admin key opens the routes under `/admin`, and any environment that the header
//! `x-dacapo-environment` names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use super::Server;
use super::error::{ApiError, Result};
use crate::secrets;
use crate::storage::{Environment, Storage};

/// Keys that are kept in memory; when there are more, all are forgotten and read again.
const MAX_KNOWN_KEYS: usize = 10_000;
/// A longer bearer is no key.
const MAX_KEY_CHARS: usize = 256;
/// Names the environment that the admin key is to open.
const ENVIRONMENT_HEADER: &str = "x-dacapo-environment";

/// Checks keys.
pub struct Auth {
    storage: Storage,
    admin_key_hash: [u8; 32],
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    generation: u64,
    environments: HashMap<[u8; 32], Arc<Environment>>,
}

impl Auth {
    /// Checks keys against `storage`, and against the admin key.
    pub fn new(storage: Storage, admin_key: &str) -> Self {
        Self { storage, admin_key_hash: secrets::hash(admin_key), known: Mutex::default() }
    }

    /// The environment that a key opens.
    async fn environment_of(&self, hash: [u8; 32]) -> Result<Option<Arc<Environment>>> {
        let generation = self.storage.settings_generation();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.generation == generation
                && let Some(environment) = known.environments.get(&hash)
            {
                return Ok(Some(environment.clone()));
            }
        }
        let Some((key, environment)) = self.storage.key_by_hash(hash).await? else { return Ok(None) };
        if !secrets::same(&key.hash, &hash) {
            return Ok(None);
        }
        let environment = Arc::new(environment);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation < generation || known.environments.len() >= MAX_KNOWN_KEYS {
            *known = Known { generation, environments: HashMap::new() };
        }
        if known.generation == generation {
            known.environments.insert(hash, environment.clone());
        }
        Ok(Some(environment))
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
        found.ok_or_else(|| ApiError::not_found("there is no such environment: choose dev, staging or production"))
    }
}

/// Whoever sent a request, and the environment they act in.
pub(super) struct Caller {
    pub(super) environment: Arc<Environment>,
    /// Whether the admin key was shown: then any environment is open.
    pub(super) is_admin: bool,
}

/// Whoever showed the admin key.
pub(super) struct Admin;

fn invalid_key() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid or Missing API key")
}

fn hash_of_bearer(parts: &Parts) -> Result<[u8; 32]> {
    let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(invalid_key)?;
    let value = value.to_str().map_err(|_| invalid_key())?;
    let (scheme, key) = value.split_once(' ').ok_or_else(invalid_key)?;
    let key = key.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() || key.len() > MAX_KEY_CHARS {
        return Err(invalid_key());
    }
    Ok(secrets::hash(key))
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let auth = &Arc::<Server>::from_ref(state).auth;
        let hash = hash_of_bearer(parts)?;
        if secrets::same(&hash, &auth.admin_key_hash) {
            let slug = parts.headers.get(ENVIRONMENT_HEADER).and_then(|slug| slug.to_str().ok()).ok_or_else(|| {
                ApiError::bad_request(format!(
                    "with the admin key, name an environment in the header {ENVIRONMENT_HEADER}"
                ))
            })?;
            let environment = Arc::new(auth.environment(slug).await?);
            return Ok(Self { environment, is_admin: true });
        }
        let environment = auth.environment_of(hash).await?.ok_or_else(invalid_key)?;
        Ok(Self { environment, is_admin: false })
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
        let hash = hash_of_bearer(parts)?;
        if secrets::same(&hash, &auth.admin_key_hash) {
            return Ok(Self);
        }
        auth.environment_of(hash).await?.ok_or_else(invalid_key)?;
        Err(ApiError::forbidden("this takes the admin key, not the key of an environment"))
    }
}
