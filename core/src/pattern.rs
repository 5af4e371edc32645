//! Regular expressions that do not allocate while they match. A dense automaton where it stays small, else a lazy one
//! (else, for what no automaton can do, Unicode word boundaries, a simulated one) whose cache belongs to the worker.

use std::sync::atomic::{AtomicU64, Ordering};

use laneway_proto::contract::{REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::hybrid;
use regex_automata::nfa::thompson::{self, NFA, pikevm};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

/// A dense automaton up to this size, bytes: it is the fastest, and there may be hundreds.
const DENSE_BYTES_MAX: usize = 128 << 10;
/// What building one may take, bytes.
const DETERMINIZE_BYTES_MAX: usize = 512 << 10;
/// States of one lazy automaton, bytes, in each worker.
const LAZY_CACHE_BYTES: usize = 256 << 10;
/// Caches that one worker keeps; the oldest goes.
const CACHES_MAX: usize = 64;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A compiled expression, anchored at both ends.
pub(crate) struct Pattern {
    // Names the cache in a worker's scratch; never used twice.
    id: u64,
    // As it was written.
    text: Box<str>,
    engine: Engine,
}

enum Engine {
    Dense(Box<dense::DFA<Vec<u32>>>),
    Lazy(Box<hybrid::dfa::DFA>),
    Simulated(Box<pikevm::PikeVM>),
}

impl Pattern {
    pub(crate) fn compile(text: &str, ignore_case: bool) -> Result<Pattern, String> {
        if text.len() > REGEX_BYTES_MAX {
            return Err(format!("a regular expression has at most {REGEX_BYTES_MAX} bytes"));
        }
        let config = syntax::Config::new().case_insensitive(ignore_case).utf8(false);
        let hir = syntax::parse_with(text, &config).map_err(|error| error.to_string())?;
        // `All` lets an anchored search run on to the longest match: it covers the whole value if any match does.
        let nfa: NFA = thompson::Compiler::new()
            .configure(
                thompson::Config::new()
                    .utf8(false)
                    .which_captures(thompson::WhichCaptures::Implicit)
                    .nfa_size_limit(Some(REGEX_COMPILED_BYTES_MAX)),
            )
            .build_from_hir(&hir)
            .map_err(|error| match error.size_limit() {
                Some(limit) => format!("the compiled expression is larger than {limit} bytes"),
                None => error.to_string(),
            })?;
        Ok(Pattern { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), text: text.into(), engine: Engine::build(nfa)? })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Does the whole value match?
    pub(crate) fn is_match(&self, value: &[u8], caches: &mut Caches) -> bool {
        let input = Input::new(value).anchored(Anchored::Yes);
        let end = match &self.engine {
            Engine::Dense(dfa) => dfa.try_search_fwd(&input).ok().flatten().map(|found| found.offset()),
            Engine::Lazy(dfa) => {
                let Cache::Lazy(cache) = caches.of(self) else { return false };
                dfa.try_search_fwd(cache, &input).ok().flatten().map(|found| found.offset())
            }
            Engine::Simulated(vm) => {
                let Cache::Simulated(cache) = caches.of(self) else { return false };
                // With `All` the simulation reports the longest too.
                vm.find(cache, input).map(|found| found.end())
            }
        };
        end == Some(value.len())
    }
}

impl Engine {
    fn build(nfa: NFA) -> Result<Engine, String> {
        let dense = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(DENSE_BYTES_MAX))
            .determinize_size_limit(Some(DETERMINIZE_BYTES_MAX));
        if let Ok(dfa) = dense::Builder::new().configure(dense).build_from_nfa(&nfa) {
            return Ok(Engine::Dense(Box::new(dfa)));
        }
        let lazy = hybrid::dfa::Config::new()
            .match_kind(MatchKind::All)
            .cache_capacity(LAZY_CACHE_BYTES)
            .skip_cache_capacity_check(true);
        if let Ok(dfa) = hybrid::dfa::Builder::new().configure(lazy).build_from_nfa(nfa.clone()) {
            return Ok(Engine::Lazy(Box::new(dfa)));
        }
        let config = pikevm::Config::new().match_kind(MatchKind::All);
        pikevm::Builder::new()
            .configure(config)
            .build_from_nfa(nfa)
            .map(|vm| Engine::Simulated(Box::new(vm)))
            .map_err(|error| error.to_string())
    }
}

/// Caches of one worker.
#[derive(Default)]
pub(crate) struct Caches {
    entries: Vec<(u64, Cache)>,
}

enum Cache {
    None,
    Lazy(Box<hybrid::dfa::Cache>),
    Simulated(Box<pikevm::Cache>),
}

impl Caches {
    fn of(&mut self, pattern: &Pattern) -> &mut Cache {
        let at = match self.entries.iter().position(|(id, _)| *id == pattern.id) {
            Some(at) => at,
            None => {
                if self.entries.len() == CACHES_MAX {
                    self.entries.remove(0);
                }
                let cache = match &pattern.engine {
                    Engine::Dense(_) => Cache::None,
                    Engine::Lazy(dfa) => Cache::Lazy(Box::new(dfa.create_cache())),
                    Engine::Simulated(vm) => Cache::Simulated(Box::new(vm.create_cache())),
                };
                self.entries.push((pattern.id, cache));
                self.entries.len() - 1
            }
        };
        &mut self.entries[at].1
    }
}

#[cfg(test)]
mod tests;
