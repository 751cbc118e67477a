mkdir src && echo 'fn main() { 1 }' > src/main.rs
