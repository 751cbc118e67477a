FROM scratch
CMD ["sleep", 10]
