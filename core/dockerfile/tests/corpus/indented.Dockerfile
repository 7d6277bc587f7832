  FROM alpine
    RUN echo indented
	RUN echo tabbed
  # indented comment
    CMD ["x"]
