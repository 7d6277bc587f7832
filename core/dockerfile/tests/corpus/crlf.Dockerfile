FROM alpine

# note
RUN echo a \
  && echo b
ENV A=b
CMD ["x"]
