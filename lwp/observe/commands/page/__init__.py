"""The live page of a program that runs: a server of it, in a process that isn't the program's."""
