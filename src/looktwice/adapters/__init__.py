"""looktwice inside other tools: captum, Quantus, pytorch-grad-cam and supervision.

Each tool has a module of its own here. Import the module that you need, since each one loads its own tool only.
"""
