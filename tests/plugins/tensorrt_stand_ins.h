// What a program gets from TensorRT, made for a machine without it: a logger, and the sizes that a builder computes.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace objects
{

using namespace nvinfer1;

inline void check(bool holds, char const* what, char const* file, int line)
{
    if (!holds)
    {
        std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
        std::exit(1);
    }
}

#define CHECK(condition) objects::check((condition), #condition, __FILE__, __LINE__)

class RecordingLogger : public ILogger
{
public:
    void log(Severity severity, AsciiChar const* message) noexcept override
    {
        CHECK(severity == Severity::kERROR);
        messages.emplace_back(message);
    }

    std::vector<std::string> messages;
};

inline RecordingLogger gLogger;

class Finder : public ILoggerFinder
{
public:
    ILogger* findLogger() override
    {
        return &gLogger;
    }
};

class Size : public IDimensionExpr
{
public:
    explicit Size(int64_t value)
        : number(value)
        , mImplementation(value)
    {
        mImpl = &mImplementation;
    }

    ~Size() noexcept override = default;

    int64_t number;

private:
    struct Implementation : apiv::VDimensionExpr
    {
        explicit Implementation(int64_t value)
            : mValue(value)
        {
        }

        bool isConstant() const override
        {
            return true;
        }

        int64_t getConstantValue() const override
        {
            return mValue;
        }

        bool isSizeTensor() const override
        {
            return false;
        }

        int64_t mValue;
    };

    Implementation mImplementation;
};

inline std::vector<std::unique_ptr<Size>> gSizes;

inline IDimensionExpr const* sizeOf(int64_t value)
{
    gSizes.push_back(std::make_unique<Size>(value));
    return gSizes.back().get();
}

class Builder : public IExprBuilder
{
public:
    Builder()
    {
        mImpl = &mImplementation;
    }

    ~Builder() noexcept override = default;

private:
    struct Implementation : apiv::VExprBuilder
    {
        IDimensionExpr const* constant(int64_t value) override
        {
            return sizeOf(value);
        }

        IDimensionExpr const* operation(
            DimensionOperation op, IDimensionExpr const& first, IDimensionExpr const& second) override
        {
            CHECK(op == DimensionOperation::kPROD);
            return sizeOf(first.getConstantValue() * second.getConstantValue());
        }

        IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&, IDimensionExpr const&) override
        {
            return nullptr;
        }
    };

    Implementation mImplementation;
};

} // namespace objects
