#include <Python.h>

static PyObject *twice(PyObject *self, PyObject *number) { return PyNumber_Add(number, number); }

static PyMethodDef methods[] = {{"twice", twice, METH_O, ""}, {NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "fast", "", -1, methods};

PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&module); }
