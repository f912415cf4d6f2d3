// A plugin's attributes: reading and checking the fields TensorRT passes, and writing them for serialisation.
#pragma once

#include <NvInferRuntime.h>

#include <deque>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace lzu
{

// Says in one sentence what is wrong with a field. Never leaves this library: creators turn it into a null plugin.
struct FieldError : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

// Reads fields by name. Every accessor throws FieldError for a field of another type or length.
class Fields
{
public:
    Fields(char const* plugin, nvinfer1::PluginFieldCollection const* collection);

    // Refuses fields that the plugin does not know.
    void allowOnly(std::initializer_list<char const*> names) const;

    std::vector<float> floats(char const* name) const;
    std::vector<int32_t> ints(char const* name, size_t count) const;
    float number(char const* name) const;
    float number(char const* name, float otherwise) const;
    int32_t integer(char const* name, int32_t otherwise) const;

    [[noreturn]] void refuse(std::string const& sentence) const;

private:
    nvinfer1::PluginField const* find(char const* name) const;
    nvinfer1::PluginField const& need(char const* name) const;

    std::string mPlugin;
    std::vector<nvinfer1::PluginField> mFields;
};

// Keeps copies of values together with the collection that points to them.
class FieldStore
{
public:
    void clear();
    void add(char const* name, std::vector<float> const& values);
    void add(char const* name, std::vector<int32_t> const& values);
    void addNumbers(std::initializer_list<std::pair<char const*, float>> numbers);
    nvinfer1::PluginFieldCollection const* collection();

private:
    std::deque<std::vector<float>> mFloats; // a deque: addresses stay as it grows
    std::deque<std::vector<int32_t>> mInts;
    std::vector<nvinfer1::PluginField> mFields;
    nvinfer1::PluginFieldCollection mCollection{};
};

} // namespace lzu
