//! Which paths a pattern selects: ignore files and COPY wildcards.
