#include "python/reading/names.h"

uint32_t name_take_number(PyObject **name)
{
    static const char prefix[] = "Thread-";
    Py_ssize_t length, first = sizeof prefix - 1, at = first;
    const char *text = PyUnicode_AsUTF8AndSize(*name, &length);
    uint32_t number = 0;

    if (!text || strncmp(text, prefix, (size_t)first) != 0 || text[first] == '0') /* a number would lose its leading 0 */
        return 0;
    for (; text[at] >= '0' && text[at] <= '9' && at < first + 9; at++)
        number = number * 10 + (uint32_t)(text[at] - '0');
    if (at == length)
        Py_CLEAR(*name);
    else if (length - at > 3 && text[at] == ' ' && text[at + 1] == '(' && text[length - 1] == ')')
        Py_SETREF(*name, PyUnicode_FromStringAndSize(text + at + 2, length - at - 3));
    else
        return 0;
    return number;
}

uint32_t name_of_thread(PyObject *function, int is_thread, PyObject **name)
{
    *name = PyObject_GetAttrString(function, is_thread ? "name" : "__qualname__");
    if (!*name || !PyUnicode_Check(*name))
        Py_XSETREF(*name, PyUnicode_FromString(Py_TYPE(function)->tp_name));
    PyErr_Clear();
    uint32_t nth = is_thread && *name ? name_take_number(name) : 0;
    PyErr_Clear(); /* the name has no UTF-8 form */
    return nth;
}
