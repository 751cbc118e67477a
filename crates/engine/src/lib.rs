//! Joins language, graph, schedule, store, sandbox and registry into builds and containers.
