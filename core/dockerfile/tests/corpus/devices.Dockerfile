# syntax=docker/dockerfile:1.20
FROM ubuntu
RUN --device=vendor1.com/device=foo env
RUN --device=name=nvidia.com/gpu=all,required nvidia-smi
