//! Events for other systems, requests that must not be done twice.
