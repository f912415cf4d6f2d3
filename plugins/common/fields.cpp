#include "common/fields.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace lzu
{

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

Fields::Fields(char const* plugin, nvinfer1::PluginFieldCollection const* collection)
    : mPlugin(plugin)
{
    if (collection == nullptr || collection->nbFields < 0
        || (collection->nbFields > 0 && collection->fields == nullptr))
    {
        refuse("there is no collection of fields");
    }
    mFields.assign(collection->fields, collection->fields + collection->nbFields);
    for (PluginField const& field : mFields)
    {
        if (field.name == nullptr || field.length < 0 || (field.length > 0 && field.data == nullptr))
        {
            refuse("a field has no name or no data");
        }
    }
}

void Fields::refuse(std::string const& sentence) const
{
    throw FieldError("lzu::" + mPlugin + ": " + sentence);
}

void Fields::allowOnly(std::initializer_list<char const*> names) const
{
    for (PluginField const& field : mFields)
    {
        auto const isIt = [&field](char const* name) { return std::strcmp(name, field.name) == 0; };
        if (std::none_of(names.begin(), names.end(), isIt))
        {
            refuse(std::string("it has no field ") + field.name);
        }
    }
}

PluginField const* Fields::find(char const* name) const
{
    for (PluginField const& field : mFields)
    {
        if (std::strcmp(name, field.name) == 0)
        {
            return &field;
        }
    }
    return nullptr;
}

PluginField const& Fields::need(char const* name) const
{
    PluginField const* const field = find(name);
    if (field == nullptr)
    {
        refuse(std::string("field ") + name + " is missing");
    }
    return *field;
}

std::vector<float> Fields::floats(char const* name) const
{
    PluginField const& field = need(name);
    std::vector<float> values(static_cast<size_t>(field.length));
    for (size_t i = 0; i < values.size(); ++i)
    {
        switch (field.type)
        {
        case PluginFieldType::kFLOAT32: values[i] = static_cast<float const*>(field.data)[i]; break;
        case PluginFieldType::kFLOAT64:
            values[i] = static_cast<float>(static_cast<double const*>(field.data)[i]);
            break;
        default: refuse(std::string("field ") + name + " must hold floats");
        }
        if (!std::isfinite(values[i]))
        {
            refuse(std::string("field ") + name + " holds NaN or an infinite number");
        }
    }
    return values;
}

std::vector<int32_t> Fields::ints(char const* name, size_t count) const
{
    PluginField const& field = need(name);
    if (static_cast<size_t>(field.length) != count)
    {
        refuse(std::string("field ") + name + " has " + std::to_string(field.length) + " values instead of "
               + std::to_string(count));
    }
    std::vector<int32_t> values(count);
    for (size_t i = 0; i < count; ++i)
    {
        int64_t value = 0;
        switch (field.type)
        {
        case PluginFieldType::kINT32: value = static_cast<int32_t const*>(field.data)[i]; break;
        case PluginFieldType::kINT64: value = static_cast<int64_t const*>(field.data)[i]; break;
        default: refuse(std::string("field ") + name + " must hold whole numbers");
        }
        if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
        {
            refuse(std::string("field ") + name + " holds a number beyond 32 bits");
        }
        values[i] = static_cast<int32_t>(value);
    }
    return values;
}

float Fields::number(char const* name) const
{
    std::vector<float> const values = floats(name);
    if (values.size() != 1)
    {
        refuse(std::string("field ") + name + " must hold one number");
    }
    return values[0];
}

float Fields::number(char const* name, float otherwise) const
{
    return find(name) == nullptr ? otherwise : number(name);
}

int32_t Fields::integer(char const* name, int32_t otherwise) const
{
    return find(name) == nullptr ? otherwise : ints(name, 1)[0];
}

void FieldStore::clear()
{
    mFields.clear();
    mFloats.clear();
    mInts.clear();
}

void FieldStore::add(char const* name, std::vector<float> const& values)
{
    mFloats.push_back(values);
    mFields.emplace_back(name, mFloats.back().data(), PluginFieldType::kFLOAT32, static_cast<int32_t>(values.size()));
}

void FieldStore::add(char const* name, std::vector<int32_t> const& values)
{
    mInts.push_back(values);
    mFields.emplace_back(name, mInts.back().data(), PluginFieldType::kINT32, static_cast<int32_t>(values.size()));
}

void FieldStore::addNumbers(std::initializer_list<std::pair<char const*, float>> numbers)
{
    for (auto const& [name, number] : numbers)
    {
        add(name, std::vector<float>{number});
    }
}

nvinfer1::PluginFieldCollection const* FieldStore::collection()
{
    mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
    return &mCollection;
}

} // namespace lzu
