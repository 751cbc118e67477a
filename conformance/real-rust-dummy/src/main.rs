fn main() { 1 }
