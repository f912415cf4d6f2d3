// lzu_sample: runs a bundle's engine on image files and prints the results as JSON, without Python.
#include "pipeline.h"

#include <cstring>
#include <iostream>

namespace
{

using namespace lzu::sample;

constexpr char const* kUSAGE
    = "usage: lzu_sample BUNDLE FRAME... [--precision fp32|bf16|fp16|int8] [--engine FILE]\n"
      "                  [--cameras FILE] [--labels FOLDER]\n"
      "\n"
      "Frames are images of the bundle's source size, in the order of time. Results go to\n"
      "standard output, as lzu-export run writes them to results.json.\n"
      "\n"
      "--precision  engine of the bundle; by default the highest there is\n"
      "--engine     engine from elsewhere, such as trtexec; it must be of this bundle\n"
      "--cameras    calibration as JSON, for boxes in space\n"
      "--labels     existing folder to write label maps to, as PGM\n";

struct Options
{
    std::string bundle;
    std::vector<std::string> frames;
    std::string precision;
    std::string engine;
    TaskOptions task;
};

std::string* valueOf(Options& options, char const* name)
{
    return std::strcmp(name, "--precision") == 0 ? &options.precision
        : std::strcmp(name, "--engine") == 0     ? &options.engine
        : std::strcmp(name, "--cameras") == 0    ? &options.task.cameras
        : std::strcmp(name, "--labels") == 0     ? &options.task.labels
                                                 : nullptr;
}

Options parse(int count, char const* const* words)
{
    Options options;
    for (int i = 1; i < count; ++i)
    {
        if (std::strncmp(words[i], "--", 2) == 0)
        {
            std::string* const value = valueOf(options, words[i]);
            if (value == nullptr || i + 1 == count)
            {
                throw Error(std::string(words[i])
                    + (value == nullptr ? " is not an option" : " needs a value") + "; lzu_sample --help lists them");
            }
            *value = words[++i];
        }
        else if (options.bundle.empty())
        {
            options.bundle = words[i];
        }
        else
        {
            options.frames.emplace_back(words[i]);
        }
    }
    if (options.frames.empty())
    {
        throw Error("give a bundle and at least one frame; lzu_sample --help says how");
    }
    if (!options.engine.empty() && !options.precision.empty())
    {
        throw Error("--engine names the file, so --precision chooses none; leave one of them out");
    }
    return options;
}

nlohmann::ordered_json run(Options const& options)
{
    Manifest const manifest = readManifest(options.bundle);
    Warp const warp = readWarp(options.bundle);
    EngineFile engine;
    if (options.engine.empty())
    {
        engine = findEngine(manifest, sessionTarget(), options.precision);
    }
    else
    {
        engine = manifest.engines.empty() ? EngineFile{} : manifest.engines.front();
        engine.path = options.engine;
    }
    std::unique_ptr<Session> const session = openSession(engine, manifest);
    return Pipeline(manifest, warp, *session, options.task).run(options.frames);
}

} // namespace

int main(int count, char** words)
{
    if (count > 1 && (std::strcmp(words[1], "--help") == 0 || std::strcmp(words[1], "-h") == 0))
    {
        std::cout << kUSAGE;
        return 0;
    }
    try
    {
        std::cout << run(parse(count, words)).dump(1) << '\n';
        return std::cout.flush() ? 0 : 2;
    }
    catch (std::exception const& error)
    {
        std::cerr << "lzu_sample: " << error.what() << '\n';
        return 2;
    }
}
