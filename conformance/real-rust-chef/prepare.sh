mkdir src && echo 'fn main() {}' > src/main.rs
