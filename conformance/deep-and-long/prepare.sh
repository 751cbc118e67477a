n=$(printf "%0200d" 7); mkdir -p d/$n/$n; echo x > d/$n/$n/$n; ln -s $n/$n/$n d/link
