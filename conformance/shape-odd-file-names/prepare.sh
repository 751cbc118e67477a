printf x > "q?.txt1"
printf y > "new
line"
mkdir "dir with space" && printf z > "dir with space/.hid den"
